//! Tests as numbers: 1 when they hold, else 0, without a branch.
//!
//! A branch that traffic cannot teach the processor costs more than a few steps of arithmetic, and the
//! verifier would walk everything behind it twice.

use crate::asm::{Alu, Code, Reg, Size};
use crate::emit::test::{PACKET, words};
use crate::field::{Field, layout};
use crate::semantic::Test;

/// What a test may use besides its result.
const REGISTERS: [Reg; 4] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4];

/// Whether [`emit`] can write a test.
pub fn can_emit(test: &Test) -> bool {
    registers(test).is_some_and(|needed| needed <= REGISTERS.len())
}

/// `dst` = bit n is the truth of test n; R1 to R4 are lost.
pub fn emit(code: &mut Code, tests: &[Test], dst: Reg) {
    code.mov(dst, 0);
    for (bit, test) in tests.iter().enumerate() {
        truth(code, test, &REGISTERS);
        if bit > 0 {
            code.alu(Alu::Lsh, REGISTERS[0], bit as i32);
        }
        code.alu(Alu::Or, dst, REGISTERS[0]);
    }
}

/// How many registers a test needs; none when it has no such code.
fn registers(test: &Test) -> Option<usize> {
    match test {
        Test::Masked { .. } => Some(2),
        Test::Range { field, low, high } => {
            (words(*field).count() == 1 || low == high).then_some(2)
        }
        Test::TcpOption(_) => Some(1),
        Test::Not(inner) => registers(inner),
        Test::All(parts) | Test::Any(parts) => {
            let mut most = 1;
            for (index, part) in parts.iter().enumerate() {
                most = most.max(registers(part)? + usize::from(index > 0));
            }
            Some(most)
        }
    }
}

/// `free[0]` = the truth of a test.
fn truth(code: &mut Code, test: &Test, free: &[Reg]) {
    let dst = free[0];
    match test {
        Test::Masked { field, mask, value } => equal(code, *field, *mask, *value, free),
        Test::Range { field, low, high } if low == high => {
            equal(code, *field, Field::max(*field), *low, free);
        }
        Test::Range { field, low, high } => {
            let high = (*high).min(Field::max(*field));
            for word in words(*field) {
                word.load_number(code, dst);
            }
            // Zero-extended: below the range is beyond it, too.
            code.alu32(Alu::Sub, dst, *low as u32 as i32);
            code.alu32(Alu::Mov, free[1], (high - low) as u32 as i32);
            code.alu(Alu::Sub, dst, free[1]);
            code.alu(Alu::Sub, dst, 1);
            code.alu(Alu::Rsh, dst, 63);
        }
        Test::TcpOption(kind) => {
            let byte = layout::TCP_OPTIONS + i16::from(kind / 8);
            code.load(Size::B, dst, PACKET, byte);
            code.alu(Alu::Rsh, dst, i32::from(kind % 8));
            code.alu(Alu::And, dst, 1);
        }
        Test::Not(inner) => {
            truth(code, inner, free);
            code.alu(Alu::Xor, dst, 1);
        }
        Test::All(parts) => join(code, parts, free, Alu::And),
        Test::Any(parts) => join(code, parts, free, Alu::Or),
    }
}

fn join(code: &mut Code, parts: &[Test], free: &[Reg], with: Alu) {
    let Some((first, others)) = parts.split_first() else {
        code.mov(free[0], i32::from(with == Alu::And));
        return;
    };
    truth(code, first, free);
    for part in others {
        truth(code, part, &free[1..]);
        code.alu(with, free[0], free[1]);
    }
}

/// `free[0] = field & mask == value`
fn equal(code: &mut Code, field: Field, mask: u128, value: u128, free: &[Reg]) {
    let words = words(field).filter(|word| word.part(mask) != 0);
    for (index, word) in words.enumerate() {
        let reg = free[usize::from(index > 0)];
        word.load(code, reg);
        let part = word.part(mask);
        if part != word.greatest() {
            code.alu32(Alu::And, reg, word.stored(part) as i32);
        }
        code.alu32(Alu::Xor, reg, word.stored(word.part(value)) as i32);
        if index > 0 {
            code.alu(Alu::Or, free[0], reg);
        }
    }
    // Only zero less one has the highest bit.
    code.alu(Alu::Sub, free[0], 1);
    code.alu(Alu::Rsh, free[0], 63);
}
