//! Symbolic code to the eight-byte instructions of the kernel.
//!
//! Labels become distances here. What only a loader knows (the file descriptor of a map, the place of
//! a function in the linked program) stays open and is listed as a [`Relocation`]; so are the offsets of
//! the kernel's fields, as [`FieldAccess`].
//! The format is that of `Documentation/bpf/standardization/instruction-set.rst`, little-endian.

use std::collections::HashMap;

use thiserror::Error;

use crate::asm::{
    Alu, Code, Extern, FunctionId, Imm64, KernelField, Label, MapId, Op, Operand, Reg, Size, Width,
};

/// One instruction slot as the kernel reads it: opcode, registers (source in the high nibble), offset
/// and immediate, both little-endian.
pub type Instruction = [u8; 8];

/// The values of the opcode byte, from `include/uapi/linux/bpf_common.h` and `bpf.h`.
pub(crate) mod opcode {
    pub const CLASS: u8 = 0x07;
    pub const LD: u8 = 0x00;
    pub const LDX: u8 = 0x01;
    pub const ST: u8 = 0x02;
    pub const STX: u8 = 0x03;
    pub const ALU: u8 = 0x04;
    pub const JMP: u8 = 0x05;
    pub const JMP32: u8 = 0x06;
    pub const ALU64: u8 = 0x07;
    /// The second operand is a register, not the immediate.
    pub const X: u8 = 0x08;
    /// The operation of an arithmetic or jump instruction.
    pub const OPERATION: u8 = 0xf0;
    pub const SIZE: u8 = 0x18;
    pub const MODE: u8 = 0xe0;
    pub const IMM: u8 = 0x00;
    pub const MEM: u8 = 0x60;
    pub const ATOMIC: u8 = 0xc0;
    pub const NEG: u8 = 0x80;
    pub const END: u8 = 0xd0;
    pub const JA: u8 = 0x00;
    pub const CALL: u8 = 0x80;
    pub const EXIT: u8 = 0x90;
    pub const LOAD_IMM64: u8 = LD | IMM | 0x18;
    /// In the source register field of a call: a function of this program.
    pub const PSEUDO_CALL: u8 = 1;
    /// In the source register field of a call: a function of the kernel.
    pub const PSEUDO_KFUNC_CALL: u8 = 2;
}

/// Why a function cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// A jump goes to a label that no [`Op::Label`] binds.
    #[error("operation {op} jumps to label {}, which is bound nowhere", label.0)]
    UnboundLabel {
        /// Index into [`Code::ops`].
        op: usize,
        /// The label.
        label: Label,
    },
    /// Two places bind the same label.
    #[error("operation {op} binds label {} again", label.0)]
    LabelBoundTwice {
        /// Index into [`Code::ops`].
        op: usize,
        /// The label.
        label: Label,
    },
    /// A jump is longer than its signed 16-bit field.
    #[error("operation {op} jumps over {distance} instructions; at most 32,767 are possible")]
    JumpTooFar {
        /// Index into [`Code::ops`].
        op: usize,
        /// In instruction slots, from the one behind the jump.
        distance: i64,
    },
    /// A byte swap of another width than 16, 32 or 64 bits.
    #[error("operation {op} swaps {bits} bits; only 16, 32 and 64 are possible")]
    SwapWidth {
        /// Index into [`Code::ops`].
        op: usize,
        /// The width asked for.
        bits: u8,
    },
}

/// The instructions of one function, with what is still open in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded<'a> {
    /// In order; a 64-bit immediate takes two slots.
    pub instructions: Vec<Instruction>,
    /// In the order of the instructions.
    pub relocations: Vec<Relocation>,
    /// In the order of the instructions.
    pub fields: Vec<FieldAccess>,
    /// The texts, by rising instruction. Of several texts at one place only the last is kept, and
    /// texts behind the last instruction are not, as the kernel wants at most one per instruction.
    pub lines: Vec<Line<'a>>,
}

/// A field that is filled when the place of its target is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Index into [`Encoded::instructions`].
    pub instruction: usize,
    /// What the instruction refers to.
    pub target: Target,
}

/// What an instruction may refer to outside its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A 64-bit immediate: the address of a map.
    Map(MapId),
    /// A 64-bit immediate: this byte of the only value of a map.
    MapValue(MapId, u32),
    /// A 64-bit immediate: the address of a function.
    Function(FunctionId),
    /// A call.
    Call(FunctionId),
    /// A call of the kernel.
    Extern(Extern),
}

/// An instruction with the offset of a field of the kernel: in a load in its offset, in an addition in
/// its immediate. Both are zero until the kernel's layout is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldAccess {
    /// Index into [`Encoded::instructions`].
    pub instruction: usize,
    /// The field.
    pub field: KernelField,
}

/// A text and the instruction it begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Index into [`Encoded::instructions`].
    pub instruction: usize,
    /// A rule in iptables' words, or what the compiler does there.
    pub text: &'a str,
}

/// Encodes one function.
///
/// # Errors
/// See [`enum@Error`]. Whether the kernel accepts the code is not asked here.
pub fn encode(code: &Code) -> Result<Encoded<'_>, Error> {
    let layout = Layout::of(code.ops())?;
    let mut out = Encoded {
        instructions: Vec::with_capacity(layout.length),
        relocations: Vec::new(),
        fields: Vec::new(),
        lines: layout.lines(code),
    };
    for (index, &op) in code.ops().iter().enumerate() {
        let at = out.instructions.len();
        out.relocations.extend(target(op).map(|target| Relocation {
            instruction: at,
            target,
        }));
        out.fields.extend(field(op).map(|field| FieldAccess {
            instruction: at,
            field,
        }));
        let fields = match op {
            Op::Label(_) => continue,
            Op::Alu(width, alu, dst, src) => {
                Fields::new(alu_class(width) | alu as u8, dst).operand(src)
            }
            Op::Neg(width, dst) => Fields::new(alu_class(width) | opcode::NEG, dst),
            Op::ToBigEndian(dst, bits) => {
                if !matches!(bits, 16 | 32 | 64) {
                    return Err(Error::SwapWidth { op: index, bits });
                }
                Fields::new(opcode::ALU | opcode::X | opcode::END, dst).imm(i32::from(bits))
            }
            Op::Load(size, dst, base, offset) => {
                Fields::new(opcode::LDX | opcode::MEM | size_bits(size), dst)
                    .src(base as u8)
                    .offset(offset)
            }
            Op::LoadField(dst, base, _) => {
                Fields::new(opcode::LDX | opcode::MEM | size_bits(Size::D), dst).src(base as u8)
            }
            Op::AddOffset(dst, _) => Fields::new(opcode::ALU64 | Alu::Add as u8, dst),
            Op::Store(size, base, offset, src) => {
                let mode = opcode::MEM | size_bits(size);
                match src {
                    Operand::Reg(src) => Fields::new(opcode::STX | mode, base).src(src as u8),
                    Operand::Imm(imm) => Fields::new(opcode::ST | mode, base).imm(imm),
                }
                .offset(offset)
            }
            // The immediate names the operation; that of addition is zero.
            Op::AtomicAdd(base, offset, src) => {
                Fields::new(opcode::STX | opcode::ATOMIC | size_bits(Size::D), base)
                    .src(src as u8)
                    .offset(offset)
            }
            Op::LoadImm64(dst, imm) => {
                let (low, high) = halves(imm);
                let first = Fields::new(opcode::LOAD_IMM64, dst).imm(low);
                out.instructions.push(first.bytes());
                Fields::new(0, Reg::R0).imm(high)
            }
            Op::Jump(label) => Fields::new(opcode::JMP | opcode::JA, Reg::R0)
                .offset(layout.distance(index, at, label)?),
            Op::Branch(width, cond, dst, src, label) => {
                let class = match width {
                    Width::W32 => opcode::JMP32,
                    Width::W64 => opcode::JMP,
                };
                Fields::new(class | cond as u8, dst)
                    .operand(src)
                    .offset(layout.distance(index, at, label)?)
            }
            Op::CallHelper(helper) => {
                Fields::new(opcode::JMP | opcode::CALL, Reg::R0).imm(helper as i32)
            }
            Op::CallFunction(_) | Op::CallExtern(_) => {
                Fields::new(opcode::JMP | opcode::CALL, Reg::R0).src(opcode::PSEUDO_CALL)
            }
            Op::CallKfunc(id) => Fields::new(opcode::JMP | opcode::CALL, Reg::R0)
                .src(opcode::PSEUDO_KFUNC_CALL)
                .imm(id.0.cast_signed()),
            Op::Exit => Fields::new(opcode::JMP | opcode::EXIT, Reg::R0),
        };
        out.instructions.push(fields.bytes());
    }
    Ok(out)
}

/// Where every operation and label comes to lie.
struct Layout {
    /// The instruction each operation begins at.
    positions: Vec<usize>,
    labels: HashMap<Label, usize>,
    length: usize,
}

impl Layout {
    fn of(ops: &[Op]) -> Result<Self, Error> {
        let mut positions = Vec::with_capacity(ops.len());
        let mut labels = HashMap::new();
        let mut length = 0;
        for (index, &op) in ops.iter().enumerate() {
            positions.push(length);
            match op {
                Op::Label(label) => {
                    if labels.insert(label, length).is_some() {
                        return Err(Error::LabelBoundTwice { op: index, label });
                    }
                }
                Op::LoadImm64(..) => length += 2,
                _ => length += 1,
            }
        }
        Ok(Layout {
            positions,
            labels,
            length,
        })
    }

    /// From behind the jump at `at` to its label.
    fn distance(&self, op: usize, at: usize, label: Label) -> Result<i16, Error> {
        let &to = self
            .labels
            .get(&label)
            .ok_or(Error::UnboundLabel { op, label })?;
        let distance = to as i64 - (at as i64 + 1);
        i16::try_from(distance).map_err(|_| Error::JumpTooFar { op, distance })
    }

    fn lines<'a>(&self, code: &'a Code) -> Vec<Line<'a>> {
        let mut lines: Vec<Line<'a>> = Vec::new();
        for mark in code.lines() {
            let instruction = self.positions.get(mark.op).copied();
            let Some(instruction) = instruction.filter(|&at| at < self.length) else {
                continue;
            };
            lines.pop_if(|last| last.instruction == instruction);
            lines.push(Line {
                instruction,
                text: mark.text,
            });
        }
        lines
    }
}

/// What an operation leaves open.
fn target(op: Op) -> Option<Target> {
    match op {
        Op::CallFunction(id) => Some(Target::Call(id)),
        Op::CallExtern(function) => Some(Target::Extern(function)),
        Op::LoadImm64(_, Imm64::Map(id)) => Some(Target::Map(id)),
        Op::LoadImm64(_, Imm64::MapValue(id, offset)) => Some(Target::MapValue(id, offset)),
        Op::LoadImm64(_, Imm64::Function(id)) => Some(Target::Function(id)),
        _ => None,
    }
}

/// The field whose offset an operation holds.
fn field(op: Op) -> Option<KernelField> {
    match op {
        Op::LoadField(_, _, field) | Op::AddOffset(_, field) => Some(field),
        _ => None,
    }
}

/// The low and the high half of a 64-bit immediate; zero where a relocation fills it.
fn halves(imm: Imm64) -> (i32, i32) {
    match imm {
        Imm64::Number(number) => (number as i32, (number >> 32) as i32),
        Imm64::Map(_) | Imm64::MapValue(..) | Imm64::Function(_) => (0, 0),
    }
}

fn alu_class(width: Width) -> u8 {
    match width {
        Width::W32 => opcode::ALU,
        Width::W64 => opcode::ALU64,
    }
}

fn size_bits(size: Size) -> u8 {
    match size {
        Size::W => 0x00,
        Size::H => 0x08,
        Size::B => 0x10,
        Size::D => 0x18,
    }
}

/// The fields of one instruction slot.
struct Fields {
    opcode: u8,
    dst: u8,
    src: u8,
    offset: i16,
    imm: i32,
}

impl Fields {
    fn new(opcode: u8, dst: Reg) -> Self {
        Fields {
            opcode,
            dst: dst as u8,
            src: 0,
            offset: 0,
            imm: 0,
        }
    }

    fn src(self, src: u8) -> Self {
        Fields { src, ..self }
    }

    fn offset(self, offset: i16) -> Self {
        Fields { offset, ..self }
    }

    fn imm(self, imm: i32) -> Self {
        Fields { imm, ..self }
    }

    fn operand(self, operand: Operand) -> Self {
        match operand {
            Operand::Reg(src) => Fields {
                opcode: self.opcode | opcode::X,
                src: src as u8,
                ..self
            },
            Operand::Imm(imm) => self.imm(imm),
        }
    }

    fn bytes(self) -> Instruction {
        let [o0, o1] = self.offset.to_le_bytes();
        let [i0, i1, i2, i3] = self.imm.to_le_bytes();
        [
            self.opcode,
            self.src << 4 | self.dst,
            o0,
            o1,
            i0,
            i1,
            i2,
            i3,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::{Cond, Helper, KfuncId};

    fn one(op: Op) -> Instruction {
        let mut code = Code::default();
        code.push(op);
        let [instruction] = encode(&code).unwrap().instructions[..] else {
            panic!("{op:?} is not one instruction");
        };
        instruction
    }

    /// The bytes are those of `llvm-mc -triple bpfel -mattr=+alu32 -show-encoding`, for what it can
    /// write down.
    #[test]
    fn single_instructions() {
        use Reg::*;
        use Width::{W32, W64};
        let imm = Operand::Imm;
        for (op, bytes) in [
            (
                Op::Alu(W64, Alu::Add, R2, imm(-4)),
                [0x07, 0x02, 0, 0, 0xfc, 0xff, 0xff, 0xff],
            ),
            (
                Op::Alu(W32, Alu::Mov, R1, Operand::Reg(R6)),
                [0xbc, 0x61, 0, 0, 0, 0, 0, 0],
            ),
            (
                Op::Alu(W64, Alu::Arsh, R3, imm(7)),
                [0xc7, 0x03, 0, 0, 7, 0, 0, 0],
            ),
            (Op::Neg(W64, R5), [0x87, 0x05, 0, 0, 0, 0, 0, 0]),
            (Op::ToBigEndian(R1, 16), [0xdc, 0x01, 0, 0, 16, 0, 0, 0]),
            (
                Op::Load(Size::W, R1, R6, 32),
                [0x61, 0x61, 32, 0, 0, 0, 0, 0],
            ),
            (
                Op::Load(Size::B, R0, R10, -1),
                [0x71, 0xa0, 0xff, 0xff, 0, 0, 0, 0],
            ),
            (
                Op::Store(Size::H, R10, -2, Operand::Reg(R3)),
                [0x6b, 0x3a, 0xfe, 0xff, 0, 0, 0, 0],
            ),
            (
                Op::Store(Size::D, R10, -8, imm(1)),
                [0x7a, 0x0a, 0xf8, 0xff, 1, 0, 0, 0],
            ),
            (Op::AtomicAdd(R0, 8, R1), [0xdb, 0x10, 8, 0, 0, 0, 0, 0]),
            (
                Op::CallHelper(Helper::MapLookupElem),
                [0x85, 0, 0, 0, 1, 0, 0, 0],
            ),
            (
                Op::CallFunction(FunctionId(7)),
                [0x85, 0x10, 0, 0, 0, 0, 0, 0],
            ),
            (
                Op::LoadField(R3, R0, KernelField::SkbDevice),
                [0x79, 0x03, 0, 0, 0, 0, 0, 0],
            ),
            (
                Op::AddOffset(R3, KernelField::DeviceName),
                [0x07, 0x03, 0, 0, 0, 0, 0, 0],
            ),
            (
                Op::CallExtern(Extern::CastToKernCtx),
                [0x85, 0x10, 0, 0, 0, 0, 0, 0],
            ),
            (
                Op::CallKfunc(KfuncId(0x1_0203)),
                [0x85, 0x20, 0, 0, 3, 2, 1, 0],
            ),
            (Op::Exit, [0x95, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(one(op), bytes, "{op:?}");
        }
    }

    #[test]
    fn labels_become_distances() {
        let mut code = Code::default();
        let (top, end) = (code.label(), code.label());
        code.bind(top);
        code.push(Op::Branch(
            Width::W32,
            Cond::Ne,
            Reg::R1,
            Operand::Imm(6),
            end,
        ));
        code.push(Op::LoadImm64(Reg::R0, Imm64::Number(0x0102_0304_0506_0708)));
        code.push(Op::Jump(top));
        code.bind(end);
        code.push(Op::Exit);
        assert_eq!(
            encode(&code).unwrap().instructions,
            [
                [0x56, 0x01, 3, 0, 6, 0, 0, 0],
                [0x18, 0x00, 0, 0, 8, 7, 6, 5],
                [0, 0, 0, 0, 4, 3, 2, 1],
                [0x05, 0, 0xfc, 0xff, 0, 0, 0, 0],
                [0x95, 0, 0, 0, 0, 0, 0, 0],
            ]
        );
    }

    #[test]
    fn what_a_loader_fills_is_listed() {
        let mut code = Code::default();
        code.push(Op::LoadImm64(Reg::R1, Imm64::Map(MapId(2))));
        code.push(Op::CallFunction(FunctionId(3)));
        code.push(Op::LoadImm64(Reg::R1, Imm64::MapValue(MapId(4), 5)));
        code.push(Op::LoadImm64(Reg::R1, Imm64::Function(FunctionId(6))));
        code.push(Op::CallExtern(Extern::CastToKernCtx));
        let encoded = encode(&code).unwrap();
        let found = encoded
            .relocations
            .iter()
            .map(|it| (it.instruction, it.target));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                (0, Target::Map(MapId(2))),
                (2, Target::Call(FunctionId(3))),
                (3, Target::MapValue(MapId(4), 5)),
                (5, Target::Function(FunctionId(6))),
                (7, Target::Extern(Extern::CastToKernCtx)),
            ]
        );
    }

    #[test]
    fn fields_of_the_kernel_are_listed() {
        let mut code = Code::default();
        code.push(Op::LoadImm64(Reg::R1, Imm64::Number(0)));
        code.load_field(Reg::R3, Reg::R0, KernelField::XdpQueue);
        code.exit();
        code.add_offset(Reg::R3, KernelField::DeviceName);
        let encoded = encode(&code).unwrap();
        let found = encoded.fields.iter().map(|it| (it.instruction, it.field));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [(2, KernelField::XdpQueue), (4, KernelField::DeviceName)]
        );
        assert_eq!(encoded.relocations, []);
    }

    #[test]
    fn one_text_for_each_instruction() {
        let mut code = Code::default();
        let label = code.label();
        code.line("empty");
        code.line("first");
        code.push(Op::LoadImm64(Reg::R0, Imm64::Number(0)));
        code.line("second");
        code.bind(label);
        code.push(Op::Exit);
        code.line("nothing follows");
        let encoded = encode(&code).unwrap();
        let found = encoded
            .lines
            .iter()
            .map(|line| (line.instruction, line.text));
        assert_eq!(found.collect::<Vec<_>>(), [(0, "first"), (2, "second")]);
    }

    #[test]
    fn jumps_reach_32767_instructions() {
        let far = |between| {
            let mut code = Code::default();
            let end = code.label();
            code.push(Op::Jump(end));
            for _ in 0..between {
                code.push(Op::Exit);
            }
            code.bind(end);
            code.push(Op::Exit);
            encode(&code).map(|encoded| encoded.instructions[0])
        };
        assert_eq!(far(32_767), Ok([0x05, 0, 0xff, 0x7f, 0, 0, 0, 0]));
        let distance = 32_768;
        assert_eq!(far(32_768), Err(Error::JumpTooFar { op: 0, distance }));
    }

    #[test]
    fn what_cannot_be_encoded() {
        let refuse = |ops: &[Op]| {
            let mut code = Code::default();
            ops.iter().for_each(|&op| code.push(op));
            encode(&code).unwrap_err()
        };
        let label = Label(5);
        assert_eq!(
            refuse(&[Op::Exit, Op::Jump(label)]),
            Error::UnboundLabel { op: 1, label }
        );
        let twice = [Op::Label(label), Op::Exit, Op::Label(label)];
        assert_eq!(refuse(&twice), Error::LabelBoundTwice { op: 2, label });
        let swap = Op::ToBigEndian(Reg::R0, 24);
        assert_eq!(refuse(&[swap]), Error::SwapWidth { op: 0, bits: 24 });
    }
}
