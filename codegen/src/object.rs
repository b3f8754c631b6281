//! A module as a relocatable BPF ELF object, as libbpf, aya and cilium/ebpf load it.
//!
//! Programs have a section per hook, other functions are in `.text`. A static function is referred to
//! through the symbol of its section, because libbpf and cilium/ebpf refuse its own symbol. Line
//! records carry the text of the rules, so that every dump of a program shows them. Functions and fields
//! of the kernel are left to the loader by name, as clang does it (`.ksyms`, CO-RE relocations): libbpf
//! and cilium/ebpf find them, aya no functions. The same module gives the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};
use thiserror::Error;

use crate::asm::{Extern, FunctionId, MapId};
use crate::btf::{self, Btf, FieldInfo, FunctionInfo, LineInfo, SectionEntry, SectionInfo};
use crate::encode::{self, Encoded, Target};
use crate::module::{Function, FunctionKind, Map, MapKind, Module};
use crate::types;

/// Must be compatible with the GPL: the kernel keeps some helpers for such programs.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";
/// The section of all functions that are not programs.
const TEXT: &str = ".text";
/// The file that line records say the rules are in.
const RULES_FILE: &str = "rules";
/// Bytes of an instruction slot.
const SLOT: usize = size_of::<encode::Instruction>();
/// Of every section but the license.
const ALIGNMENT: u64 = 8;

/// Relocation types, from the kernel's `Documentation/bpf/llvm_reloc.rst`.
const R_BPF_64_64: u32 = 1;
const R_BPF_64_32: u32 = 10;

/// Why a module cannot be written.
#[derive(Debug, Error)]
pub enum Error {
    /// A function cannot be encoded.
    #[error("function {function}: {source}")]
    Encode {
        /// Its name.
        function: String,
        /// Why.
        source: encode::Error,
    },
    /// A function has no instruction.
    #[error("function {0} is empty")]
    EmptyFunction(String),
    /// More parameters than there are argument registers.
    #[error("function {0} has more than five parameters")]
    TooManyParameters(String),
    /// Two functions, or two maps, have one name.
    #[error("the name {0} is used twice")]
    DuplicateName(String),
    /// A function refers to a function that does not exist or is a program.
    #[error("function {function} refers to function number {}, which nothing can call", callee.0)]
    NotCallable {
        /// The name of the caller.
        function: String,
        /// What it refers to.
        callee: FunctionId,
    },
    /// A function refers to a map that does not exist, to constant bytes as a map, or to a byte that
    /// the constant bytes do not have.
    #[error("function {function} refers to map number {}, which has nothing of that kind", map.0)]
    NotInMap {
        /// The name of the function.
        function: String,
        /// What it refers to.
        map: MapId,
    },
    /// Constant bytes that are none, more than 4 GiB, or whose name is not `.rodata` or `.rodata.NAME`.
    #[error("map {0} cannot be a section of constant bytes")]
    ConstantSection(String),
    /// The ELF file cannot be written.
    #[error(transparent)]
    Elf(#[from] object::write::Error),
}

/// Writes the module as an ELF object.
///
/// # Errors
/// See [`enum@Error`]. Whether the kernel accepts the programs is not asked here.
pub fn write(module: &Module) -> Result<Vec<u8>, Error> {
    check_names(module)?;
    let placed = place(module)?;
    let mut writer = Writer::default();
    let license = writer.section("license", SectionKind::Data);
    writer.elf.append_section_data(license, LICENSE, 1);
    let maps = writer.maps(&module.maps)?;
    let functions: Vec<SymbolId> = placed.iter().map(|it| writer.function(it)).collect();
    let references = References {
        module,
        placed: &placed,
        maps,
        functions,
        text: writer.text_symbol(&placed),
    };
    for it in &placed {
        writer.code(it, &references)?;
        writer.debug_info(it);
    }
    writer.finish()
}

fn check_names(module: &Module) -> Result<(), Error> {
    let functions = module.functions.iter().map(|function| &function.name);
    let maps = module.maps.iter().map(|map| &map.name);
    let mut seen = HashSet::new();
    match functions.chain(maps).find(|&name| !seen.insert(name)) {
        Some(name) => Err(Error::DuplicateName(name.clone())),
        None => Ok(()),
    }
}

/// A function with its code and place.
struct Placed<'m> {
    function: &'m Function,
    encoded: Encoded<'m>,
    section: &'static str,
    /// In bytes from the start of the section.
    offset: usize,
}

impl Placed<'_> {
    /// In bytes.
    fn size(&self) -> usize {
        self.encoded.instructions.len() * SLOT
    }
}

/// Encodes every function and lays the functions of each section one behind the other.
fn place(module: &Module) -> Result<Vec<Placed<'_>>, Error> {
    let mut ends = BTreeMap::new();
    let mut placed = Vec::new();
    for function in &module.functions {
        let encoded = encode::encode(&function.code).map_err(|source| Error::Encode {
            function: function.name.clone(),
            source,
        })?;
        if encoded.instructions.is_empty() {
            return Err(Error::EmptyFunction(function.name.clone()));
        }
        if function.parameters.len() > 5 {
            return Err(Error::TooManyParameters(function.name.clone()));
        }
        let section = match function.kind {
            FunctionKind::Program(hook) => hook.section(),
            FunctionKind::Static | FunctionKind::Global => TEXT,
        };
        let end = ends.entry(section).or_insert(0);
        let it = Placed {
            function,
            encoded,
            section,
            offset: *end,
        };
        *end += it.size();
        placed.push(it);
    }
    Ok(placed)
}

/// What code may refer to.
struct References<'m> {
    module: &'m Module,
    placed: &'m [Placed<'m>],
    maps: Vec<SymbolId>,
    functions: Vec<SymbolId>,
    /// The symbol of [`TEXT`] as a whole, when there is such a section.
    text: Option<SymbolId>,
}

impl References<'_> {
    /// The symbol of a map, or of constant bytes when `byte` is one of them.
    fn map(&self, from: &Function, id: MapId, byte: Option<u32>) -> Result<SymbolId, Error> {
        let index = usize::from(id.0);
        let found = match (self.module.maps.get(index).map(|map| &map.kind), byte) {
            (Some(MapKind::Constant { bytes }), Some(byte)) => (byte as usize) < bytes.len(),
            (Some(MapKind::Constant { .. }) | None, None) | (_, Some(_)) => false,
            (Some(_), None) => true,
        };
        let symbol = self.maps.get(index).filter(|_| found);
        symbol.copied().ok_or_else(|| Error::NotInMap {
            function: from.name.clone(),
            map: id,
        })
    }

    /// The symbol of a function, and the bytes to add to it.
    fn callee(&self, from: &Function, id: FunctionId) -> Result<(SymbolId, usize), Error> {
        let index = usize::from(id.0);
        let callee = self.placed.get(index).zip(self.functions.get(index));
        let reference = callee.and_then(|(it, &symbol)| match it.function.kind {
            FunctionKind::Program(_) => None,
            FunctionKind::Global => Some((symbol, 0)),
            FunctionKind::Static => Some((self.text?, it.offset)),
        });
        reference.ok_or_else(|| Error::NotCallable {
            function: from.name.clone(),
            callee: id,
        })
    }
}

struct Writer<'m> {
    elf: Object<'m>,
    sections: BTreeMap<String, SectionId>,
    btf: Btf,
    infos: Vec<SectionInfo>,
    /// The functions of the kernel that were referred to.
    externs: BTreeMap<Extern, SymbolId>,
    /// How many line records there are.
    lines: u32,
}

impl Default for Writer<'_> {
    fn default() -> Self {
        Writer {
            elf: Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little),
            sections: BTreeMap::new(),
            btf: Btf::default(),
            infos: Vec::new(),
            externs: BTreeMap::new(),
            lines: 0,
        }
    }
}

impl<'m> Writer<'m> {
    /// The section of that name, made when there is none.
    fn section(&mut self, name: &str, kind: SectionKind) -> SectionId {
        *self
            .sections
            .entry(name.to_owned())
            .or_insert_with(|| self.elf.add_section(Vec::new(), name.into(), kind))
    }

    fn symbol(
        &mut self,
        name: &str,
        kind: SymbolKind,
        scope: SymbolScope,
        section: SectionId,
        range: Range<usize>,
    ) -> SymbolId {
        self.elf.add_symbol(Symbol {
            name: name.into(),
            value: range.start as u64,
            size: range.len() as u64,
            kind,
            scope,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        })
    }

    /// Writes `.maps` and the sections of constant bytes; the result has one symbol per map.
    fn maps(&mut self, maps: &'m [Map]) -> Result<Vec<SymbolId>, Error> {
        let mut symbols = Vec::new();
        let mut definitions = Vec::new();
        for Map { name, kind } in maps {
            let variable = match kind {
                MapKind::Constant { bytes } => {
                    symbols.push(self.constant(name, bytes)?);
                    continue;
                }
                MapKind::Counters { entries } => types::counters(&mut self.btf, name, *entries),
                MapKind::Devices { entries } => types::devices(&mut self.btf, name, *entries),
                MapKind::State { entries, bytes } => {
                    types::states(&mut self.btf, name, *bytes, *entries)
                }
                MapKind::Hash(shape) => types::hash(&mut self.btf, name, *shape),
                MapKind::Prefixes {
                    key,
                    bytes,
                    entries,
                } => types::prefixes(&mut self.btf, name, *key, *bytes, *entries),
                MapKind::Ring { bytes } => types::ring(&mut self.btf, name, *bytes),
            };
            let size = types::DEFINITION_SIZE;
            let offset = definitions.len() as u32 * size;
            definitions.push(SectionEntry {
                variable,
                offset,
                size,
            });
            let section = self.section(".maps", SectionKind::Data);
            let zeros = [0; types::DEFINITION_SIZE as usize];
            self.elf.append_section_data(section, &zeros, ALIGNMENT);
            let range = offset as usize..(offset + size) as usize;
            symbols.push(self.symbol(name, SymbolKind::Data, SymbolScope::Dynamic, section, range));
        }
        if !definitions.is_empty() {
            let size = types::DEFINITION_SIZE * definitions.len() as u32;
            self.btf.data_section(".maps", size, &definitions);
        }
        Ok(symbols)
    }

    fn constant(&mut self, name: &str, bytes: &'m [u8]) -> Result<SymbolId, Error> {
        let named = name == ".rodata" || name.strip_prefix(".rodata.").is_some_and(is_identifier);
        let size = u32::try_from(bytes.len()).unwrap_or(0);
        if !named || size == 0 {
            return Err(Error::ConstantSection(name.to_owned()));
        }
        types::constant_section(&mut self.btf, name, size);
        let section = self.section(name, SectionKind::ReadOnlyData);
        self.elf.set_section_data(section, bytes, ALIGNMENT);
        let variable = types::constant_variable(name);
        let scope = SymbolScope::Compilation;
        Ok(self.symbol(variable, SymbolKind::Data, scope, section, 0..bytes.len()))
    }

    fn function(&mut self, it: &Placed) -> SymbolId {
        let section = self.section(it.section, SectionKind::Text);
        let scope = match it.function.kind {
            FunctionKind::Program(_) | FunctionKind::Global => SymbolScope::Dynamic,
            FunctionKind::Static => SymbolScope::Compilation,
        };
        let range = it.offset..it.offset + it.size();
        self.symbol(&it.function.name, SymbolKind::Text, scope, section, range)
    }

    fn text_symbol(&mut self, placed: &[Placed]) -> Option<SymbolId> {
        placed.iter().any(|it| it.section == TEXT).then(|| {
            let section = self.section(TEXT, SectionKind::Text);
            self.elf.section_symbol(section)
        })
    }

    /// The symbol for a target, the relocation type, and what the instruction's immediate adds to it.
    fn resolve(
        &mut self,
        references: &References,
        from: &Function,
        target: Target,
    ) -> Result<(SymbolId, u32, u32), Error> {
        // A call counts instructions from the one behind it.
        let call = |bytes: usize| ((bytes / SLOT) as u32).wrapping_sub(1);
        Ok(match target {
            Target::Map(map) => (references.map(from, map, None)?, R_BPF_64_64, 0),
            Target::MapValue(map, offset) => {
                let symbol = references.map(from, map, Some(offset))?;
                (symbol, R_BPF_64_64, offset)
            }
            Target::Function(id) => {
                let (symbol, bytes) = references.callee(from, id)?;
                (symbol, R_BPF_64_64, bytes as u32)
            }
            Target::Call(id) => {
                let (symbol, bytes) = references.callee(from, id)?;
                (symbol, R_BPF_64_32, call(bytes))
            }
            Target::Extern(function) => (self.external(function), R_BPF_64_32, call(0)),
        })
    }

    /// The symbol of a function of the kernel, made when there is none.
    fn external(&mut self, function: Extern) -> SymbolId {
        *self.externs.entry(function).or_insert_with(|| {
            self.elf.add_symbol(Symbol {
                name: function.name().into(),
                value: 0,
                size: 0,
                kind: SymbolKind::Unknown,
                scope: SymbolScope::Unknown,
                weak: false,
                section: SymbolSection::Undefined,
                flags: SymbolFlags::None,
            })
        })
    }

    /// Appends the instructions of a function, with the relocations the loader has to do.
    fn code(&mut self, it: &Placed, references: &References) -> Result<(), Error> {
        let section = self.section(it.section, SectionKind::Text);
        let mut instructions = it.encoded.instructions.clone();
        for relocation in &it.encoded.relocations {
            let (symbol, r_type, immediate) =
                self.resolve(references, it.function, relocation.target)?;
            instructions[relocation.instruction][4..].copy_from_slice(&immediate.to_le_bytes());
            let relocation = Relocation {
                offset: (it.offset + relocation.instruction * SLOT) as u64,
                symbol,
                addend: 0,
                flags: RelocationFlags::Elf { r_type },
            };
            self.elf.add_relocation(section, relocation)?;
        }
        let bytes = instructions.as_flattened();
        self.elf.append_section_data(section, bytes, ALIGNMENT);
        Ok(())
    }

    /// Says where a function begins, which texts its code was made from, and which fields of the kernel
    /// it refers to.
    fn debug_info(&mut self, it: &Placed) {
        let function = FunctionInfo {
            offset: it.offset as u32,
            function: types::function(&mut self.btf, it.function),
        };
        // The kernel wants a line at the first instruction of every function.
        let lines = &it.encoded.lines;
        let unnamed = lines.first().is_none_or(|line| line.instruction != 0);
        let start = unnamed.then_some((0, it.function.name.as_str()));
        let texts = lines.iter().map(|line| (line.instruction, line.text));
        let file = self.btf.string(RULES_FILE);
        let lines: Vec<LineInfo> = start
            .into_iter()
            .chain(texts)
            .map(|(instruction, text)| {
                self.lines += 1;
                LineInfo {
                    offset: (it.offset + instruction * SLOT) as u32,
                    file,
                    text: self.btf.string(text),
                    number: self.lines,
                }
            })
            .collect();
        let fields = it.encoded.fields.iter().map(|access| FieldInfo {
            offset: (it.offset + access.instruction * SLOT) as u32,
            structure: types::structure(&mut self.btf, access.field),
            access: self.btf.string(types::ONLY_FIELD),
        });
        let fields: Vec<FieldInfo> = fields.collect();
        let name = self.btf.string(it.section);
        match self.infos.iter_mut().find(|info| info.name == name) {
            Some(info) => {
                info.functions.push(function);
                info.lines.extend(lines);
                info.fields.extend(fields);
            }
            None => self.infos.push(SectionInfo {
                name,
                functions: vec![function],
                lines,
                fields,
            }),
        }
    }

    fn finish(mut self) -> Result<Vec<u8>, Error> {
        if !self.externs.is_empty() {
            types::externs(&mut self.btf, self.externs.keys().copied());
        }
        if !self.infos.is_empty() {
            let extension = btf::extension_bytes(&self.infos);
            for (name, bytes) in [(".BTF", self.btf.bytes()), (".BTF.ext", extension)] {
                let section = self.section(name, SectionKind::Other);
                self.elf.append_section_data(section, &bytes, ALIGNMENT);
            }
        }
        Ok(self.elf.write()?)
    }
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::{Code, Imm64, Op, Reg};
    use crate::module::{Hook, Parameter};

    fn function(name: &str, kind: FunctionKind, ops: &[Op]) -> Function {
        let mut code = Code::default();
        ops.iter().for_each(|&op| code.push(op));
        Function {
            name: name.to_owned(),
            kind,
            parameters: vec![Parameter::U32],
            code,
        }
    }

    fn constant(name: &str, bytes: &[u8]) -> Map {
        Map {
            name: name.to_owned(),
            kind: MapKind::Constant {
                bytes: bytes.to_vec(),
            },
        }
    }

    /// A program of these operations, a program number 1, and the maps.
    fn error(ops: &[Op], maps: Vec<Map>) -> String {
        let functions = vec![
            function("a", FunctionKind::Program(Hook::Xdp), ops),
            function("b", FunctionKind::Program(Hook::CgroupEgress), &[Op::Exit]),
        ];
        write(&Module { functions, maps }).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_written() {
        let counters = || Map {
            name: "counters".to_owned(),
            kind: MapKind::Counters { entries: 1 },
        };
        let load = |imm| [Op::LoadImm64(Reg::R1, imm), Op::Exit];
        let value = |offset| load(Imm64::MapValue(MapId(0), offset));
        let map = load(Imm64::Map(MapId(0)));
        let not_in_map = "function a refers to map number 0, which has nothing of that kind";
        let call = |id| [Op::CallFunction(FunctionId(id)), Op::Exit];
        for (found, expected) in [
            (error(&[], vec![]), "function a is empty"),
            (
                error(&[Op::ToBigEndian(Reg::R0, 8)], vec![]),
                "function a: operation 0 swaps 8 bits; only 16, 32 and 64 are possible",
            ),
            (
                error(&call(1), vec![]),
                "function a refers to function number 1, which nothing can call",
            ),
            (
                error(&call(2), vec![]),
                "function a refers to function number 2, which nothing can call",
            ),
            (error(&map, vec![]), not_in_map),
            (error(&map, vec![constant(".rodata", b"x")]), not_in_map),
            (
                error(&value(1), vec![constant(".rodata", b"x")]),
                not_in_map,
            ),
            (error(&value(0), vec![counters()]), not_in_map),
            (
                error(&[Op::Exit], vec![counters(), counters()]),
                "the name counters is used twice",
            ),
            (
                error(&[Op::Exit], vec![constant(".rodata", b"")]),
                "map .rodata cannot be a section of constant bytes",
            ),
            (
                error(&[Op::Exit], vec![constant("table", b"x")]),
                "map table cannot be a section of constant bytes",
            ),
        ] {
            assert_eq!(found, expected);
        }
        let mut many = function("many", FunctionKind::Static, &[Op::Exit]);
        many.parameters = vec![Parameter::U32; 6];
        let module = Module {
            functions: vec![many],
            maps: Vec::new(),
        };
        let found = write(&module).unwrap_err().to_string();
        assert_eq!(found, "function many has more than five parameters");
    }

    #[test]
    fn equal_modules_give_equal_bytes() {
        let module = Module {
            functions: vec![function("f", FunctionKind::Global, &[Op::Exit])],
            maps: vec![constant(".rodata.one", b"1"), constant(".rodata.two", b"2")],
        };
        assert_eq!(write(&module).unwrap(), write(&module.clone()).unwrap());
    }
}
