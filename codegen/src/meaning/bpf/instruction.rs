//! The instructions of classic BPF (include/uapi/linux/bpf_common.h, filter.h).

use ipt2bpf_parser::matches::bpf::Instruction;
use ipt2bpf_parser::ruleset::Family;

use super::super::Refusal;

/// Cells of memory (`BPF_MEMWORDS`).
pub const CELLS: usize = 16;

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A = big-endian number of this many bytes; ends with 0 where the packet has none.
    Load { size: u8, place: Place },
    /// X = four times the low half of the byte at this offset; ends likewise.
    LoadHeaderLength(u32),
    /// A = length of the packet
    LoadLength,
    /// X = length of the packet
    LoadLengthX,
    /// A = number
    LoadConstant(u32),
    /// X = number
    LoadConstantX(u32),
    /// A = cell
    LoadCell(u8),
    /// X = cell
    LoadCellX(u8),
    /// cell = A
    Store(u8),
    /// cell = X
    StoreX(u8),
    /// A = A operation operand; ends with 0 on a division by zero.
    Compute(Operation, Operand),
    /// A = -A
    Negate,
    /// A = something known beside the packet
    Learn(Fact),
    /// X = A
    AToX,
    /// A = X
    XToA,
    /// Skips so many instructions.
    Jump(u8),
    /// Skips so many, depending on A.
    Branch {
        condition: Condition,
        with: Operand,
        yes: u8,
        no: u8,
    },
    /// Ends with a number.
    Return(u32),
    /// Ends with A.
    ReturnA,
}

/// Where in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At this offset.
    At(u32),
    /// This far behind X.
    BehindX(u32),
}

/// The second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A number.
    Constant(u32),
    /// X.
    X,
}

/// What is known beside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A random number.
    Random,
}

/// Arithmetic on 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Mod,
    Xor,
}

impl Operation {
    /// The result; none for a division by zero. Shifts look at the low five bits of their distance.
    pub fn of(self, a: u32, by: u32) -> Option<u32> {
        Some(match self {
            Operation::Add => a.wrapping_add(by),
            Operation::Sub => a.wrapping_sub(by),
            Operation::Mul => a.wrapping_mul(by),
            Operation::Div => a.checked_div(by)?,
            Operation::Or => a | by,
            Operation::And => a & by,
            Operation::ShiftLeft => a.wrapping_shl(by),
            Operation::ShiftRight => a.wrapping_shr(by),
            Operation::Mod => a.checked_rem(by)?,
            Operation::Xor => a ^ by,
        })
    }
}

/// A comparison of unsigned numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    Equal,
    Greater,
    AtLeast,
    /// Some bit is set in both.
    Common,
}

impl Condition {
    /// Whether it holds.
    pub fn holds(self, a: u32, with: u32) -> bool {
        match self {
            Condition::Equal => a == with,
            Condition::Greater => a > with,
            Condition::AtLeast => a >= with,
            Condition::Common => a & with != 0,
        }
    }
}

/// `SKF_LL_OFF` is the lowest offset with a meaning of its own; from 2^31 on, none is in the packet.
const NEGATIVE: u32 = 1 << 31;
/// `SKF_AD_OFF`: what is known beside the packet.
const ANCILLARY: u32 = 0xffff_f000;

/// What lies at `SKF_AD_OFF`, four bytes each.
const FACTS: [&str; 16] = [
    "the protocol",
    "the packet type",
    "the interface's number",
    "a netlink attribute",
    "a nested netlink attribute",
    "the mark",
    "the receive queue",
    "the interface's type",
    "the receive hash",
    "the processor",
    "",
    "the VLAN tag",
    "the VLAN tag's presence",
    "the payload's offset",
    "",
    "the VLAN protocol",
];
const PROTOCOL: u32 = 0;
const XOR_X: u32 = 10;
const RANDOM: u32 = 14;

/// The instructions of a program for packets of a family.
pub fn decode(program: &[Instruction], family: Family) -> Result<Vec<Op>, Refusal> {
    let ops = program.iter().enumerate().map(|(at, instruction)| {
        let left = program.len() - at - 1;
        one(instruction, left, family)
    });
    ops.collect()
}

/// The instruction in front of so many others.
fn one(instruction: &Instruction, left: usize, family: Family) -> Result<Op, Refusal> {
    let Instruction {
        code,
        jump_true,
        jump_false,
        k,
    } = *instruction;
    let cell = || {
        u8::try_from(k)
            .ok()
            .filter(|&cell| usize::from(cell) < CELLS)
    };
    let skip = |by: u32| u8::try_from(by).ok().filter(|&by| usize::from(by) < left);
    let operand = match code & 0x08 {
        0 => Operand::Constant(k),
        _ => Operand::X,
    };
    let op = match code {
        0x20 | 0x28 | 0x30 if k >= ANCILLARY => return fact(k, family),
        0x20 | 0x28 | 0x30 | 0xb1 if k >= NEGATIVE => return Err(negative()),
        0x40 | 0x48 | 0x50 if k >= NEGATIVE => return Err(negative()),
        0x20 => load(4, Place::At(k)),
        0x28 => load(2, Place::At(k)),
        0x30 => load(1, Place::At(k)),
        0x40 => load(4, Place::BehindX(k)),
        0x48 => load(2, Place::BehindX(k)),
        0x50 => load(1, Place::BehindX(k)),
        0xb1 => Some(Op::LoadHeaderLength(k)),
        0x80 => Some(Op::LoadLength),
        0x81 => Some(Op::LoadLengthX),
        0x00 => Some(Op::LoadConstant(k)),
        0x01 => Some(Op::LoadConstantX(k)),
        0x60 => cell().map(Op::LoadCell),
        0x61 => cell().map(Op::LoadCellX),
        0x02 => cell().map(Op::Store),
        0x03 => cell().map(Op::StoreX),
        0x34 | 0x94 if k == 0 => None,
        0x64 | 0x74 if k > 31 => None,
        0x04 | 0x0c => Some(Op::Compute(Operation::Add, operand)),
        0x14 | 0x1c => Some(Op::Compute(Operation::Sub, operand)),
        0x24 | 0x2c => Some(Op::Compute(Operation::Mul, operand)),
        0x34 | 0x3c => Some(Op::Compute(Operation::Div, operand)),
        0x44 | 0x4c => Some(Op::Compute(Operation::Or, operand)),
        0x54 | 0x5c => Some(Op::Compute(Operation::And, operand)),
        0x64 | 0x6c => Some(Op::Compute(Operation::ShiftLeft, operand)),
        0x74 | 0x7c => Some(Op::Compute(Operation::ShiftRight, operand)),
        0x94 | 0x9c => Some(Op::Compute(Operation::Mod, operand)),
        0xa4 | 0xac => Some(Op::Compute(Operation::Xor, operand)),
        0x84 => Some(Op::Negate),
        0x07 => Some(Op::AToX),
        0x87 => Some(Op::XToA),
        0x05 => skip(k).map(Op::Jump),
        0x15 | 0x1d => branch(Condition::Equal, operand, jump_true, jump_false, left),
        0x25 | 0x2d => branch(Condition::Greater, operand, jump_true, jump_false, left),
        0x35 | 0x3d => branch(Condition::AtLeast, operand, jump_true, jump_false, left),
        0x45 | 0x4d => branch(Condition::Common, operand, jump_true, jump_false, left),
        0x06 => Some(Op::Return(k)),
        0x16 => Some(Op::ReturnA),
        _ => None,
    };
    op.ok_or_else(|| Refusal {
        code: "bpf-damaged",
        reason: format!(
            "has an instruction that the kernel does not take: {code} {jump_true} {jump_false} {k}"
        ),
        help: "use the output of nfbpf_compile".into(),
    })
}

fn load(size: u8, place: Place) -> Option<Op> {
    Some(Op::Load { size, place })
}

fn branch(condition: Condition, with: Operand, yes: u8, no: u8, left: usize) -> Option<Op> {
    let inside = usize::from(yes.max(no)) < left;
    inside.then_some(Op::Branch {
        condition,
        with,
        yes,
        no,
    })
}

/// What the kernel knows beside the packet.
fn fact(k: u32, family: Family) -> Result<Op, Refusal> {
    match (k - ANCILLARY) / 4 {
        PROTOCOL => Ok(Op::LoadConstant(match family {
            Family::V4 => 0x0800,
            Family::V6 => 0x86dd,
        })),
        XOR_X => Ok(Op::Compute(Operation::Xor, Operand::X)),
        RANDOM => Ok(Op::Learn(Fact::Random)),
        number => {
            let name = FACTS.get(number as usize).copied().unwrap_or("nothing");
            Err(Refusal {
                code: "bpf-fact",
                reason: format!("asks for {name}, which programs of this version do not read"),
                help: "use the match for it, such as mark, pkttype or cpu, beside --bytecode"
                    .into(),
            })
        }
    }
}

fn negative() -> Refusal {
    Refusal {
        code: "bpf-offset",
        reason: "reads from an offset of 2^31 or more, where the kernel has the link-layer header"
            .into(),
        help: "read from the IP header on".into(),
    }
}
