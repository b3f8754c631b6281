//! A small writer of BTF, the type information of BPF objects.
//!
//! The formats are those of the kernel's `Documentation/bpf/btf.rst`, little-endian: `.BTF` holds types
//! and strings, `.BTF.ext` says which function begins at an instruction, which line of text it was made
//! from, and which field of the kernel it refers to.

use std::collections::HashMap;

/// The first two bytes of both sections.
const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;

/// A type, by its number in the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

impl TypeId {
    /// `void`, which every section has.
    pub const VOID: TypeId = TypeId(0);

    /// The number, by which the kernel calls it.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A string, by its offset in the section; 0 is the empty string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StringId(u32);

/// Who may refer to a function or variable; the value is that of `BTF_FUNC_*` and `BTF_VAR_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Linkage {
    /// This object only.
    Static = 0,
    /// Anyone. A function is verified on its own.
    Global = 1,
    /// This object; the function itself is elsewhere.
    Extern = 2,
}

/// The kinds we write, by their number in `include/uapi/linux/btf.h`.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Int = 1,
    Pointer = 2,
    Array = 3,
    Struct = 4,
    Function = 12,
    FunctionPrototype = 13,
    Variable = 14,
    DataSection = 15,
}

/// One member of a struct, or one parameter of a function.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub kind: TypeId,
}

/// A variable and its place in a section, in bytes. What is [`Linkage::Extern`] has none: zeros.
#[derive(Clone, Copy, Debug)]
pub struct SectionEntry {
    /// The variable, or an extern function.
    pub variable: TypeId,
    /// Where it begins.
    pub offset: u32,
    /// How long it is.
    pub size: u32,
}

/// The types and strings of one object. Writing the same thing twice gives the first one again.
#[derive(Debug)]
pub struct Btf {
    types: Vec<u8>,
    known_types: HashMap<Vec<u8>, TypeId>,
    strings: Vec<u8>,
    known_strings: HashMap<String, StringId>,
}

impl Default for Btf {
    fn default() -> Self {
        Btf {
            types: Vec::new(),
            known_types: HashMap::new(),
            strings: vec![0],
            known_strings: HashMap::from([(String::new(), StringId(0))]),
        }
    }
}

impl Btf {
    /// A string, cut before its first NUL.
    pub fn string(&mut self, text: &str) -> StringId {
        let text = text.split('\0').next().unwrap_or_default();
        if let Some(&id) = self.known_strings.get(text) {
            return id;
        }
        let id = StringId(self.strings.len() as u32);
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        self.known_strings.insert(text.to_owned(), id);
        id
    }

    /// An unsigned integer of so many bytes.
    pub fn unsigned(&mut self, name: &str, bytes: u8) -> TypeId {
        self.integer(name, bytes, 0)
    }

    /// A signed integer of so many bytes.
    pub fn signed(&mut self, name: &str, bytes: u8) -> TypeId {
        self.integer(name, bytes, 1)
    }

    fn integer(&mut self, name: &str, bytes: u8, encoding: u32) -> TypeId {
        let bits = u32::from(bytes) * 8;
        let record = self.record(Kind::Int, name, 0, u32::from(bytes));
        self.add(record.word(encoding << 24 | bits))
    }

    /// A pointer.
    pub fn pointer(&mut self, to: TypeId) -> TypeId {
        let record = self.record(Kind::Pointer, "", 0, to.0);
        self.add(record)
    }

    /// An array of so many elements.
    pub fn array(&mut self, element: TypeId, length: u32) -> TypeId {
        let index = self.unsigned("unsigned int", 4);
        let record = self.record(Kind::Array, "", 0, 0);
        self.add(record.word(element.0).word(index.0).word(length))
    }

    /// A struct of `size` bytes whose members all take `size / members.len()` bytes; empty without
    /// members.
    pub fn structure(&mut self, name: &str, size: u32, members: &[Member]) -> TypeId {
        let step = size / (members.len() as u32).max(1);
        let places: Vec<u32> = (0..members.len() as u32).map(|it| it * step).collect();
        self.structure_at(name, size, members, &places)
    }

    /// A struct of `size` bytes with its members at these offsets.
    pub fn structure_at(
        &mut self,
        name: &str,
        size: u32,
        members: &[Member],
        offsets: &[u32],
    ) -> TypeId {
        let mut record = self.record(Kind::Struct, name, members.len(), size);
        for (member, offset) in members.iter().zip(offsets) {
            let name = self.string(member.name);
            record = record.word(name.0).word(member.kind.0).word(offset * 8);
        }
        self.add(record)
    }

    /// A function with its parameters.
    pub fn function(
        &mut self,
        name: &str,
        result: TypeId,
        parameters: &[Member],
        linkage: Linkage,
    ) -> TypeId {
        let mut prototype = self.record(Kind::FunctionPrototype, "", parameters.len(), result.0);
        for parameter in parameters {
            let name = self.string(parameter.name);
            prototype = prototype.word(name.0).word(parameter.kind.0);
        }
        let prototype = self.add(prototype);
        let record = self.record(Kind::Function, name, linkage as usize, prototype.0);
        self.add(record)
    }

    /// A variable.
    pub fn variable(&mut self, name: &str, kind: TypeId, linkage: Linkage) -> TypeId {
        let record = self.record(Kind::Variable, name, 0, kind.0);
        self.add(record.word(linkage as u32))
    }

    /// A section of `size` bytes with its variables.
    pub fn data_section(&mut self, name: &str, size: u32, entries: &[SectionEntry]) -> TypeId {
        let mut record = self.record(Kind::DataSection, name, entries.len(), size);
        for entry in entries {
            record = record
                .word(entry.variable.0)
                .word(entry.offset)
                .word(entry.size);
        }
        self.add(record)
    }

    /// The section `.BTF`.
    pub fn bytes(&self) -> Vec<u8> {
        const HEADER: u32 = 24;
        let types = self.types.len() as u32;
        let mut out = header(HEADER);
        for word in [0, types, types, self.strings.len() as u32] {
            out.extend(u32::to_le_bytes(word));
        }
        out.extend(&self.types);
        out.extend(&self.strings);
        out
    }

    /// `struct btf_type`. `count` is the number of members, or the linkage of a function.
    fn record(&mut self, kind: Kind, name: &str, count: usize, size_or_type: u32) -> Record {
        let name = self.string(name);
        let info = u32::from(kind as u8) << 24 | count as u32 & 0xffff;
        Record(Vec::new())
            .word(name.0)
            .word(info)
            .word(size_or_type)
    }

    fn add(&mut self, record: Record) -> TypeId {
        if let Some(&id) = self.known_types.get(&record.0) {
            return id;
        }
        let id = TypeId(self.known_types.len() as u32 + 1);
        self.types.extend(&record.0);
        self.known_types.insert(record.0, id);
        id
    }
}

/// The bytes of one type.
struct Record(Vec<u8>);

impl Record {
    fn word(mut self, word: u32) -> Self {
        self.0.extend(word.to_le_bytes());
        self
    }
}

/// Where functions begin in a section, the texts their code was made from, and the fields of the kernel
/// in it.
#[derive(Clone, Debug)]
pub struct SectionInfo {
    /// The name of the section.
    pub name: StringId,
    /// By rising offset.
    pub functions: Vec<FunctionInfo>,
    /// By rising offset; one at the first instruction of every function.
    pub lines: Vec<LineInfo>,
    /// By rising offset.
    pub fields: Vec<FieldInfo>,
}

/// `struct bpf_func_info`.
#[derive(Clone, Copy, Debug)]
pub struct FunctionInfo {
    /// In bytes from the start of the section.
    pub offset: u32,
    /// The function.
    pub function: TypeId,
}

/// `struct bpf_line_info`.
#[derive(Clone, Copy, Debug)]
pub struct LineInfo {
    /// In bytes from the start of the section.
    pub offset: u32,
    /// The file the line is said to be in.
    pub file: StringId,
    /// The text itself.
    pub text: StringId,
    /// The number of the line; only its low 22 bits are kept.
    pub number: u32,
}

/// `struct bpf_core_relo` of the kind `BPF_CORE_FIELD_BYTE_OFFSET`: an instruction whose offset, or for
/// arithmetic whose immediate, a loader replaces by that of the same field in the kernel's structure of
/// the same name.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    /// In bytes from the start of the section.
    pub offset: u32,
    /// The structure, as far as this object knows it.
    pub structure: TypeId,
    /// The way to the field: indices, beginning with that of the structure in an array of them, with
    /// colons between them.
    pub access: StringId,
}

/// The section `.BTF.ext`. Every section must have functions and lines, as libbpf refuses empty lists.
pub fn extension_bytes(sections: &[SectionInfo]) -> Vec<u8> {
    const HEADER: u32 = 32;
    const BPF_CORE_FIELD_BYTE_OFFSET: u32 = 0;
    let mut functions = Record(Vec::new()).word(8);
    let mut lines = Record(Vec::new()).word(16);
    let mut fields = Record(Vec::new());
    for section in sections {
        functions = functions
            .word(section.name.0)
            .word(section.functions.len() as u32);
        for info in &section.functions {
            functions = functions.word(info.offset).word(info.function.0);
        }
        lines = lines.word(section.name.0).word(section.lines.len() as u32);
        for info in &section.lines {
            lines = lines
                .word(info.offset)
                .word(info.file.0)
                .word(info.text.0)
                // The low ten bits are the column.
                .word(info.number << 10);
        }
        if section.fields.is_empty() {
            continue;
        }
        if fields.0.is_empty() {
            fields = fields.word(16);
        }
        fields = fields
            .word(section.name.0)
            .word(section.fields.len() as u32);
        for info in &section.fields {
            fields = fields
                .word(info.offset)
                .word(info.structure.0)
                .word(info.access.0)
                .word(BPF_CORE_FIELD_BYTE_OFFSET);
        }
    }
    let lists = [functions.0, lines.0, fields.0];
    let mut out = header(HEADER);
    let mut offset = 0;
    for list in &lists {
        let length = list.len() as u32;
        out.extend(u32::to_le_bytes(offset));
        out.extend(u32::to_le_bytes(length));
        offset += length;
    }
    out.extend(lists.concat());
    out
}

/// What both headers begin with; `length` is that of the whole header.
fn header(length: u32) -> Vec<u8> {
    let mut out = MAGIC.to_le_bytes().to_vec();
    out.extend([VERSION, 0]);
    out.extend(length.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_types_and_strings_are_written_once() {
        let mut btf = Btf::default();
        let int = btf.signed("int", 4);
        assert_eq!(btf.signed("int", 4), int);
        assert_ne!(btf.unsigned("int", 4), int);
        assert_eq!(btf.pointer(int), btf.pointer(int));
        assert_eq!(btf.string("int"), btf.string("int\0cut"));
        assert_eq!(btf.string(""), StringId(0));
    }

    #[test]
    fn the_extension_of_two_sections() {
        let section = |name, fields| SectionInfo {
            name: StringId(name),
            functions: vec![FunctionInfo {
                offset: 0,
                function: TypeId(7),
            }],
            lines: vec![LineInfo {
                offset: 0,
                file: StringId(8),
                text: StringId(9),
                number: 1,
            }],
            fields,
        };
        let field = FieldInfo {
            offset: 24,
            structure: TypeId(5),
            access: StringId(6),
        };
        let lists = |bytes: &[u8]| -> Vec<u32> {
            let words = bytes.chunks(4).map(|word| word.try_into().unwrap());
            words.map(u32::from_le_bytes).collect()
        };
        let without = extension_bytes(&[section(1, vec![]), section(2, vec![])]);
        assert_eq!(
            lists(&without),
            [
                &[0x1_eb9f, 32][..],
                // Offset and length of the functions, of the lines, of the fields.
                &[0, 36, 36, 52, 88, 0],
                &[8, 1, 1, 0, 7, 2, 1, 0, 7],
                &[16, 1, 1, 0, 8, 9, 1 << 10, 2, 1, 0, 8, 9, 1 << 10],
            ]
            .concat()
        );
        let with = extension_bytes(&[section(1, vec![]), section(2, vec![field])]);
        let start = without.len();
        assert_eq!(lists(&with)[2..8], [0, 36, 36, 52, 88, 28]);
        assert_eq!(with[32..start], without[32..]);
        assert_eq!(lists(&with[start..]), [16, 2, 1, 24, 5, 6, 0]);
    }

    #[test]
    fn the_section_of_one_integer() {
        let mut btf = Btf::default();
        btf.signed("int", 4);
        let expected = [
            &[0x9f, 0xeb, 1, 0, 24, 0, 0, 0][..],
            // Offset and length of the types, then of the strings.
            &[0, 0, 0, 0, 16, 0, 0, 0, 16, 0, 0, 0, 5, 0, 0, 0],
            // Name, kind, size, encoding and bits.
            &[1, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 32, 0, 0, 1],
            b"\0int\0",
        ];
        assert_eq!(btf.bytes(), expected.concat());
    }
}
