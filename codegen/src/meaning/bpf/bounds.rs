//! Where a program may read. The kernel has headers of the link layer at offsets from 2^31 on, which no
//! hook can show as it does: a program that might compute such an offset is refused.

use super::super::Refusal;
use super::instruction::{CELLS, Fact, Op, Operand, Operation, Place};

/// The longest packet the kernel makes is shorter.
const MAX_LENGTH: u32 = 1 << 20;

/// The greatest values before an instruction.
#[derive(Clone, Copy)]
struct Bounds {
    a: u32,
    x: u32,
    cells: [u32; CELLS],
}

impl Bounds {
    const ZERO: Bounds = Bounds {
        a: 0,
        x: 0,
        cells: [0; CELLS],
    };

    fn join(self, other: Bounds) -> Bounds {
        let cells = std::array::from_fn(|cell| self.cells[cell].max(other.cells[cell]));
        Bounds {
            a: self.a.max(other.a),
            x: self.x.max(other.x),
            cells,
        }
    }
}

/// Refuses a program that reads at a computed offset of 2^31 or more.
pub fn check(program: &[Op]) -> Result<(), Refusal> {
    let mut before: Vec<Option<Bounds>> = vec![None; program.len()];
    if let Some(first) = before.first_mut() {
        *first = Some(Bounds::ZERO);
    }
    for (at, op) in program.iter().enumerate() {
        let Some(bounds) = before[at] else {
            continue;
        };
        if let Op::Load {
            place: Place::BehindX(k),
            ..
        } = *op
            && bounds.x.saturating_add(k) > i32::MAX as u32
        {
            return Err(Refusal {
                code: "bpf-offset",
                reason: format!(
                    "may read from an offset of 2^31 or more in instruction {at}, where the kernel has \
                     the link-layer header"
                ),
                help: "mask X before it is used as an offset".into(),
            });
        }
        let after = step(*op, bounds);
        for next in successors(*op, at) {
            if let Some(known) = before.get_mut(next) {
                *known = Some(known.map_or(after, |known| known.join(after)));
            }
        }
    }
    Ok(())
}

/// The instructions that may follow one.
pub fn successors(op: Op, at: usize) -> Vec<usize> {
    match op {
        Op::Jump(skip) => vec![at + 1 + usize::from(skip)],
        Op::Branch { yes, no, .. } => vec![at + 1 + usize::from(yes), at + 1 + usize::from(no)],
        Op::Return(_) | Op::ReturnA => Vec::new(),
        _ => vec![at + 1],
    }
}

fn step(op: Op, mut bounds: Bounds) -> Bounds {
    let Bounds { a, x, cells } = &mut bounds;
    match op {
        Op::Load { size: 1, .. } => *a = u8::MAX.into(),
        Op::Load { size: 2, .. } => *a = u16::MAX.into(),
        Op::Load { .. } | Op::Negate | Op::Learn(Fact::Random) => *a = u32::MAX,
        Op::LoadHeaderLength(_) => *x = 60,
        Op::LoadLength => *a = MAX_LENGTH,
        Op::LoadLengthX => *x = MAX_LENGTH,
        Op::LoadConstant(k) => *a = k,
        Op::LoadConstantX(k) => *x = k,
        Op::LoadCell(cell) => *a = cells[usize::from(cell)],
        Op::LoadCellX(cell) => *x = cells[usize::from(cell)],
        Op::Store(cell) => cells[usize::from(cell)] = *a,
        Op::StoreX(cell) => cells[usize::from(cell)] = *x,
        Op::AToX => *x = *a,
        Op::XToA => *a = *x,
        Op::Compute(operation, by) => *a = greatest(operation, *a, by, *x),
        Op::Jump(_) | Op::Branch { .. } | Op::Return(_) | Op::ReturnA => {}
    }
    bounds
}

/// The greatest result for an A of at most `a` and an X of at most `x`.
fn greatest(operation: Operation, a: u32, by: Operand, x: u32) -> u32 {
    let most = match by {
        Operand::Constant(k) => k,
        Operand::X => x,
    };
    match (operation, by) {
        (Operation::Add, _) => a.saturating_add(most),
        (Operation::Mul, _) => a.saturating_mul(most),
        (Operation::And, _) => a.min(most),
        (Operation::Or | Operation::Xor, _) => u32::MAX
            .checked_shr((a | most).leading_zeros())
            .unwrap_or(0),
        (Operation::Div, Operand::Constant(k)) => a.checked_div(k).unwrap_or(a),
        (Operation::Mod, Operand::Constant(k)) => a.min(k.saturating_sub(1)),
        (Operation::ShiftRight, Operand::Constant(k)) => a.wrapping_shr(k),
        (Operation::Div | Operation::Mod | Operation::ShiftRight, Operand::X) => a,
        (Operation::ShiftLeft, Operand::Constant(k)) => match a.leading_zeros() >= k {
            true => a.wrapping_shl(k),
            false => u32::MAX,
        },
        (Operation::ShiftLeft, Operand::X) | (Operation::Sub, _) => u32::MAX,
    }
}
