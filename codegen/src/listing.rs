//! A module as text: every text above the code that was made from it, in the style of the kernel's
//! disassembler (`kernel/bpf/disasm.c`), with labels and names instead of distances and numbers.

use std::fmt::{self, Display};

use crate::asm::{Alu, Cond, FunctionId, Imm64, KernelField, MapId, Op, Operand, Reg, Size, Width};
use crate::module::{Function, FunctionKind, Map, MapKind, Module};

/// The whole module: maps, then functions.
pub fn listing(module: &Module) -> String {
    Listing(module).to_string()
}

struct Listing<'m>(&'m Module);

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for map in &self.0.maps {
            write_map(f, map)?;
        }
        for function in &self.0.functions {
            writeln!(f)?;
            write_function(f, self.0, function)?;
        }
        Ok(())
    }
}

fn write_map(f: &mut fmt::Formatter<'_>, map: &Map) -> fmt::Result {
    let name = &map.name;
    match &map.kind {
        MapKind::Counters { entries } => writeln!(f, "map {name}: {entries} counters"),
        MapKind::Devices { entries } => writeln!(f, "map {name}: {entries} interface names"),
        MapKind::State { entries, bytes } => {
            writeln!(f, "map {name}: {entries} states of {bytes} bytes")
        }
        MapKind::Hash(shape) => writeln!(
            f,
            "map {name}: {} entries of {} bytes by {} bytes",
            shape.entries, shape.bytes, shape.key
        ),
        MapKind::Prefixes { key, entries, .. } => {
            writeln!(f, "map {name}: {entries} prefixes of {key} bytes")
        }
        MapKind::Ring { bytes } => writeln!(f, "map {name}: a ring of {bytes} bytes"),
        MapKind::Constant { bytes } => writeln!(f, "map {name}: {} constant bytes", bytes.len()),
    }
}

fn write_function(f: &mut fmt::Formatter<'_>, module: &Module, function: &Function) -> fmt::Result {
    let name = &function.name;
    match function.kind {
        FunctionKind::Program(hook) => writeln!(f, "program {name} at {hook}")?,
        FunctionKind::Static => writeln!(f, "static function {name}")?,
        FunctionKind::Global => writeln!(f, "global function {name}")?,
    }
    let mut texts = function.code.lines().peekable();
    for (index, &op) in function.code.ops().iter().enumerate() {
        while let Some(mark) = texts.next_if(|mark| mark.op <= index) {
            for line in mark.text.lines() {
                writeln!(f, "; {line}")?;
            }
        }
        match op {
            Op::Label(label) => writeln!(f, "L{}:", label.0)?,
            op => writeln!(f, "    {}", Shown { module, op })?,
        }
    }
    Ok(())
}

/// One operation, with the names of the module's functions and maps.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'m> {
    pub(crate) module: &'m Module,
    pub(crate) op: Op,
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Op::Alu(width, alu, dst, src) => {
                let dst = Sized(width, dst);
                write!(f, "{dst} {} {}", operator(alu), Source(width, src))
            }
            Op::Neg(width, dst) => write!(f, "{0} = -{0}", Sized(width, dst)),
            Op::ToBigEndian(dst, bits) => write!(f, "{dst} = be{bits} {dst}"),
            Op::Load(size, dst, base, offset) => {
                write!(f, "{dst} = {}", Memory(size, base, offset))
            }
            Op::LoadField(dst, base, field) => {
                write!(f, "{dst} = *(u64 *)({base} +{})", Offset(field))
            }
            Op::AddOffset(dst, field) => write!(f, "{dst} += {}", Offset(field)),
            Op::Store(size, base, offset, src) => {
                let src = Source(Width::W64, src);
                write!(f, "{} = {src}", Memory(size, base, offset))
            }
            Op::AtomicAdd(base, offset, src) => {
                write!(f, "lock {} += {src}", Memory(Size::D, base, offset))
            }
            Op::LoadImm64(dst, imm) => {
                write!(f, "{dst} = ")?;
                self.write_imm64(f, imm)
            }
            Op::Jump(label) => write!(f, "goto L{}", label.0),
            Op::Branch(width, cond, dst, src, label) => {
                let (dst, cond) = (Sized(width, dst), condition(cond));
                match src {
                    Operand::Reg(_) => write!(f, "if {dst} {cond} {}", Source(width, src))?,
                    Operand::Imm(imm) => write!(f, "if {dst} {cond} {imm:#x}")?,
                }
                write!(f, " goto L{}", label.0)
            }
            Op::CallHelper(helper) => {
                write!(f, "call bpf_{}#{}", helper.name(), helper as i32)
            }
            Op::CallFunction(id) => {
                f.write_str("call ")?;
                self.write_function_name(f, id)
            }
            Op::CallKfunc(id) => write!(f, "call kernel-function#{}", id.0),
            Op::CallExtern(function) => write!(f, "call {}", function.name()),
            Op::Exit => f.write_str("exit"),
            Op::Label(label) => write!(f, "L{}:", label.0),
        }
    }
}

impl Shown<'_> {
    fn write_imm64(&self, f: &mut fmt::Formatter<'_>, imm: Imm64) -> fmt::Result {
        match imm {
            Imm64::Number(number) => write!(f, "{number:#x}"),
            Imm64::Map(id) => self.write_map_name(f, id),
            Imm64::MapValue(id, offset) => {
                self.write_map_name(f, id)?;
                write!(f, "[0]+{offset}")
            }
            Imm64::Function(id) => {
                f.write_str("function[")?;
                self.write_function_name(f, id)?;
                f.write_str("]")
            }
        }
    }

    fn write_map_name(&self, f: &mut fmt::Formatter<'_>, id: MapId) -> fmt::Result {
        match self.module.maps.get(usize::from(id.0)) {
            Some(map) => write!(f, "map[{}]", map.name),
            None => write!(f, "map[#{}]", id.0),
        }
    }

    fn write_function_name(&self, f: &mut fmt::Formatter<'_>, id: FunctionId) -> fmt::Result {
        match self.module.functions.get(usize::from(id.0)) {
            Some(function) => f.write_str(&function.name),
            None => write!(f, "#{}", id.0),
        }
    }
}

/// A register under the name of its width.
struct Sized(Width, Reg);

impl Display for Sized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Width::W32 => write!(f, "w{}", self.1 as u8),
            Width::W64 => write!(f, "r{}", self.1 as u8),
        }
    }
}

struct Source(Width, Operand);

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Operand::Reg(reg) => Sized(self.0, reg).fmt(f),
            Operand::Imm(imm) => imm.fmt(f),
        }
    }
}

struct Memory(Size, Reg, i16);

impl Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.0 {
            Size::B => 8,
            Size::H => 16,
            Size::W => 32,
            Size::D => 64,
        };
        write!(f, "*(u{bits} *)({} {:+})", self.1, self.2)
    }
}

/// The offset of a field, by its name.
struct Offset(KernelField);

impl Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.structure(), self.0.member())
    }
}

fn operator(alu: Alu) -> &'static str {
    match alu {
        Alu::Add => "+=",
        Alu::Sub => "-=",
        Alu::Mul => "*=",
        Alu::Div => "/=",
        Alu::Or => "|=",
        Alu::And => "&=",
        Alu::Lsh => "<<=",
        Alu::Rsh => ">>=",
        Alu::Mod => "%=",
        Alu::Xor => "^=",
        Alu::Mov => "=",
        Alu::Arsh => "s>>=",
    }
}

fn condition(cond: Cond) -> &'static str {
    match cond {
        Cond::Eq => "==",
        Cond::Gt => ">",
        Cond::Ge => ">=",
        Cond::Set => "&",
        Cond::Ne => "!=",
        Cond::Sgt => "s>",
        Cond::Sge => "s>=",
        Cond::Lt => "<",
        Cond::Le => "<=",
        Cond::Slt => "s<",
        Cond::Sle => "s<=",
    }
}
