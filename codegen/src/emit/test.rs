//! Tests as branches.

use crate::asm::{Alu, Code, Cond, Label, Operand, Reg, Size};
use crate::field::{Field, layout};
use crate::semantic::Test;

/// Where the rules find the `struct packet`.
pub const PACKET: Reg = Reg::R6;

/// Goes to `target` when the test's truth is `sense`, else falls through. Constants are only expected
/// where [`simplify`](crate::simplify::simplify) leaves them.
pub fn branch(code: &mut Code, test: &Test, sense: bool, target: Label) {
    match test {
        Test::Masked { field, mask, value } => masked(code, *field, *mask, *value, sense, target),
        Test::Range { field, low, high } => range(code, *field, *low, *high, sense, target),
        Test::TcpOption(kind) => {
            let byte = layout::TCP_OPTIONS + i16::from(kind / 8);
            code.load(Size::B, Reg::R1, PACKET, byte);
            let bit = 1 << (kind % 8);
            let set = code.label();
            match sense {
                true => code.branch32(Cond::Set, Reg::R1, bit, target),
                false => {
                    code.branch32(Cond::Set, Reg::R1, bit, set);
                    code.jump(target);
                    code.bind(set);
                }
            }
        }
        Test::Not(inner) => branch(code, inner, !sense, target),
        Test::All(parts) => join(code, parts, sense, target, false),
        Test::Any(parts) => join(code, parts, sense, target, true),
    }
}

/// Parts of which one of truth `deciding` decides the whole.
fn join(code: &mut Code, parts: &[Test], sense: bool, target: Label, deciding: bool) {
    let Some((last, others)) = parts.split_last() else {
        if sense != deciding {
            code.jump(target);
        }
        return;
    };
    if sense == deciding {
        for part in parts {
            branch(code, part, sense, target);
        }
    } else {
        let skip = code.label();
        for part in others {
            branch(code, part, deciding, skip);
        }
        branch(code, last, sense, target);
        code.bind(skip);
    }
}

fn masked(code: &mut Code, field: Field, mask: u128, value: u128, sense: bool, target: Label) {
    let place = field.place();
    if !place.network {
        load(code, field);
        let (mask, value) = (mask as u32, value as u32);
        if u128::from(mask) != field.max() {
            code.alu32(Alu::And, Reg::R1, mask as i32);
        }
        compare(code, value as i32, sense, target);
        return;
    }
    let skip = code.label();
    let words: Vec<(i16, u32, u32)> = (0..place.size / 4)
        .map(|word| {
            let shift = 8 * u32::from(place.size - 4 * (word + 1));
            let offset = place.offset + 4 * i16::from(word);
            (offset, (mask >> shift) as u32, (value >> shift) as u32)
        })
        .filter(|(_, mask, _)| *mask != 0)
        .collect();
    for (index, (offset, mask, value)) in words.iter().enumerate() {
        // The bytes lie as in the packet; a little-endian load turns them round.
        code.load(Size::W, Reg::R1, PACKET, *offset);
        if *mask != u32::MAX {
            let mask = mask.swap_bytes() as i32;
            code.alu32(Alu::And, Reg::R1, mask);
        }
        let value = value.swap_bytes() as i32;
        match (sense, index + 1 == words.len()) {
            (true, false) => compare(code, value, false, skip),
            (sense, _) => compare(code, value, sense, target),
        }
    }
    code.bind(skip);
}

fn range(code: &mut Code, field: Field, low: u32, high: u32, sense: bool, target: Label) {
    load(code, field);
    if low == high {
        return compare(code, low as i32, sense, target);
    }
    let (inside, outside, bound) = if u128::from(high) >= field.max() {
        (Cond::Ge, Cond::Lt, low)
    } else {
        if low != 0 {
            code.alu32(Alu::Sub, Reg::R1, low as i32);
        }
        (Cond::Le, Cond::Gt, high - low)
    };
    let cond = if sense { inside } else { outside };
    let bound = Operand::Imm(bound as i32);
    code.branch32(cond, Reg::R1, bound, target);
}

fn load(code: &mut Code, field: Field) {
    let place = field.place();
    let size = match place.size {
        1 => Size::B,
        2 => Size::H,
        _ => Size::W,
    };
    code.load(size, Reg::R1, PACKET, place.offset);
}

fn compare(code: &mut Code, value: i32, sense: bool, target: Label) {
    let cond = if sense { Cond::Eq } else { Cond::Ne };
    code.branch32(cond, Reg::R1, value, target);
}
