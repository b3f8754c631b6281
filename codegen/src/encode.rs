//! Symbolic code to the eight-byte instructions of the kernel.
//!
//! Labels become distances here. What only a loader knows (the file descriptor of a map, the place of
//! a function in the linked program) stays open and is listed as a [`Relocation`].
//! The format is that of `Documentation/bpf/standardization/instruction-set.rst`, little-endian.

use std::collections::HashMap;

use thiserror::Error;

use crate::asm::{Code, FunctionId, Imm64, Label, MapId, Op, Operand, Reg, Size, Width};

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
/// See [`Error`]. Whether the kernel accepts the code is not asked here.
pub fn encode(code: &Code) -> Result<Encoded<'_>, Error> {
    let layout = Layout::of(code.ops())?;
    let mut out = Encoded {
        instructions: Vec::with_capacity(layout.length),
        relocations: Vec::new(),
        lines: layout.lines(code),
    };
    for (index, &op) in code.ops().iter().enumerate() {
        let at = out.instructions.len();
        out.relocations.extend(target(op).map(|target| Relocation {
            instruction: at,
            target,
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
            Op::CallFunction(_) => {
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
        Op::LoadImm64(_, Imm64::Map(id)) => Some(Target::Map(id)),
        Op::LoadImm64(_, Imm64::MapValue(id, offset)) => Some(Target::MapValue(id, offset)),
        Op::LoadImm64(_, Imm64::Function(id)) => Some(Target::Function(id)),
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
