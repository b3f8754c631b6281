//! From classic BPF to BPF.

use super::bounds::successors;
use super::instruction::{CELLS, Condition, Fact, Op, Operand, Operation, Place};
use crate::asm::{
    Alu, Cond, Helper, Label, Op as Instruction, Operand as Source, Reg, Size, Width,
};
use crate::emit::link::{self, Body};
use crate::emit::worker::forget;
use crate::field::layout;

const A: Reg = Reg::R8;
const X: Reg = Reg::R9;
/// Where the cells lie on the stack, four bytes each.
const MEMORY: i16 = -4 * CELLS as i16;
/// Where bytes of the packet are copied to.
const WORD: i16 = MEMORY - 4;
const SPARE: i16 = WORD - 8;

/// Writes a program into the body of a routine.
pub fn emit(body: &mut Body, program: &[Op]) {
    let ways = ways_to(program);
    let labels: Vec<Label> = program.iter().map(|_| body.code.label()).collect();
    let zero = body.code.label();
    for cell in cells_loaded(program) {
        body.code.store(Size::W, Reg::R10, place(cell), 0);
    }
    body.code.mov(A, 0);
    body.code.mov(X, 0);
    let mut ends_with_zero = false;
    for (at, op) in program.iter().enumerate() {
        // The verifier takes no code that nothing leads to.
        if ways[at] == 0 {
            continue;
        }
        body.code.bind(labels[at]);
        if ways[at] > 1 {
            forget(&mut body.code, A, SPARE);
            forget(&mut body.code, X, SPARE);
        }
        let label = |skip: u8| {
            labels
                .get(at + 1 + usize::from(skip))
                .copied()
                .unwrap_or(zero)
        };
        ends_with_zero |= emit_one(body, *op, label, zero);
        let falls_through = successors(*op, at).first() == Some(&(at + 1));
        if falls_through && at + 1 == program.len() {
            body.code.jump(zero);
            ends_with_zero = true;
        }
    }
    if ends_with_zero || program.is_empty() {
        body.code.bind(zero);
        body.answer(0);
    }
}

/// How many ways lead to each instruction.
fn ways_to(program: &[Op]) -> Vec<usize> {
    let mut ways = vec![0; program.len()];
    if let Some(first) = ways.first_mut() {
        *first = 1;
    }
    for (at, op) in program.iter().enumerate() {
        if ways[at] > 0 {
            for next in successors(*op, at) {
                if let Some(ways) = ways.get_mut(next) {
                    *ways += 1;
                }
            }
        }
    }
    ways
}

fn cells_loaded(program: &[Op]) -> Vec<u8> {
    let mut cells: Vec<u8> = program
        .iter()
        .filter_map(|op| match op {
            Op::LoadCell(cell) | Op::LoadCellX(cell) => Some(*cell),
            _ => None,
        })
        .collect();
    cells.sort_unstable();
    cells.dedup();
    cells
}

fn place(cell: u8) -> i16 {
    MEMORY + 4 * i16::from(cell)
}

/// Writes one instruction; tells whether it may end the program with zero.
fn emit_one(body: &mut Body, op: Op, label: impl Fn(u8) -> Label, zero: Label) -> bool {
    match op {
        Op::Load { size, place } => {
            let code = &mut body.code;
            match place {
                Place::At(k) => code.alu32(Alu::Mov, Reg::R0, k as i32),
                Place::BehindX(k) => {
                    code.alu32(Alu::Mov, Reg::R0, X);
                    code.alu32(Alu::Add, Reg::R0, k as i32);
                }
            }
            body.bytes(Reg::R0, size.into(), WORD, zero);
            let code = &mut body.code;
            match size {
                1 => code.load(Size::B, A, Reg::R10, WORD),
                2 => {
                    code.load(Size::H, A, Reg::R10, WORD);
                    code.to_big_endian(A, 16);
                }
                _ => {
                    code.load(Size::W, A, Reg::R10, WORD);
                    code.to_big_endian(A, 32);
                }
            }
            return true;
        }
        Op::LoadHeaderLength(k) => {
            body.code.alu32(Alu::Mov, Reg::R0, k as i32);
            body.bytes(Reg::R0, 1, WORD, zero);
            let code = &mut body.code;
            code.load(Size::B, X, Reg::R10, WORD);
            code.alu32(Alu::And, X, 15);
            code.alu32(Alu::Lsh, X, 2);
            return true;
        }
        Op::Compute(operation @ (Operation::Div | Operation::Mod), Operand::X) => {
            body.code.branch32(Cond::Eq, X, 0, zero);
            body.code.alu32(alu(operation), A, X);
            return true;
        }
        _ => {}
    }
    let code = &mut body.code;
    match op {
        Op::LoadLength => code.load(Size::W, A, link::PACKET, layout::LENGTH),
        Op::LoadLengthX => code.load(Size::W, X, link::PACKET, layout::LENGTH),
        Op::LoadConstant(k) => code.alu32(Alu::Mov, A, k as i32),
        Op::LoadConstantX(k) => code.alu32(Alu::Mov, X, k as i32),
        Op::LoadCell(cell) => code.load(Size::W, A, Reg::R10, place(cell)),
        Op::LoadCellX(cell) => code.load(Size::W, X, Reg::R10, place(cell)),
        Op::Store(cell) => code.store(Size::W, Reg::R10, place(cell), A),
        Op::StoreX(cell) => code.store(Size::W, Reg::R10, place(cell), X),
        Op::Compute(operation, by) => code.alu32(alu(operation), A, source(by)),
        Op::Negate => code.push(Instruction::Neg(Width::W32, A)),
        Op::Learn(Fact::Random) => {
            code.call(Helper::GetPrandomU32);
            code.alu32(Alu::Mov, A, Reg::R0);
        }
        Op::AToX => code.mov(X, A),
        Op::XToA => code.mov(A, X),
        Op::Jump(skip) => code.jump(label(skip)),
        Op::Branch {
            condition,
            with,
            yes,
            no,
        } => {
            let cond = match condition {
                Condition::Equal => Cond::Eq,
                Condition::Greater => Cond::Gt,
                Condition::AtLeast => Cond::Ge,
                Condition::Common => Cond::Set,
            };
            code.branch32(cond, A, source(with), label(yes));
            if no > 0 {
                code.jump(label(no));
            }
        }
        Op::Return(k) => body.answer(k as i32),
        Op::ReturnA => body.answer(A),
        Op::Load { .. } | Op::LoadHeaderLength(_) => {}
    }
    false
}

fn source(operand: Operand) -> Source {
    match operand {
        Operand::Constant(k) => Source::Imm(k as i32),
        Operand::X => Source::Reg(X),
    }
}

fn alu(operation: Operation) -> Alu {
    match operation {
        Operation::Add => Alu::Add,
        Operation::Sub => Alu::Sub,
        Operation::Mul => Alu::Mul,
        Operation::Div => Alu::Div,
        Operation::Or => Alu::Or,
        Operation::And => Alu::And,
        Operation::ShiftLeft => Alu::Lsh,
        Operation::ShiftRight => Alu::Rsh,
        Operation::Mod => Alu::Mod,
        Operation::Xor => Alu::Xor,
    }
}
