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
    let skip = code.label();
    let words: Vec<(Word, u32, u32)> = words(field)
        .map(|word| (word, word.part(mask), word.part(value)))
        .filter(|(_, mask, _)| *mask != 0)
        .collect();
    for (index, &(word, mask, value)) in words.iter().enumerate() {
        word.load(code, Reg::R1);
        if mask != word.greatest() {
            code.alu32(Alu::And, Reg::R1, word.stored(mask) as i32);
        }
        let value = word.stored(value);
        match (sense, index + 1 == words.len()) {
            (true, false) => compare(code, value, false, skip),
            (sense, _) => compare(code, value, sense, target),
        }
    }
    code.bind(skip);
}

fn range(code: &mut Code, field: Field, low: u128, high: u128, sense: bool, target: Label) {
    let high = high.min(field.max());
    if low == high {
        return masked(code, field, field.max(), low, sense, target);
    }
    let words: Vec<Word> = words(field).collect();
    if let &[word] = words.as_slice() {
        return narrow_range(code, word, word.part(low), word.part(high), sense, target);
    }
    let skip = code.label();
    let outside = if sense { skip } else { target };
    bound(code, &words, low, Cond::Lt, outside);
    bound(code, &words, high, Cond::Gt, outside);
    if sense {
        code.jump(target);
        code.bind(skip);
    }
}

/// Both bounds of a field of one word.
fn narrow_range(code: &mut Code, word: Word, low: u32, high: u32, sense: bool, target: Label) {
    word.load_number(code, Reg::R1);
    let (inside, outside, bound) = if high >= word.greatest() {
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

/// Goes to `outside` when the words are less than a bound, or greater: the first word that differs
/// decides. Words that cannot be outside any more are not looked at.
fn bound(code: &mut Code, words: &[Word], bound: u128, beyond: Cond, outside: Label) {
    let (within, extreme) = match beyond {
        Cond::Lt => (Cond::Gt, u128::MIN),
        _ => (Cond::Lt, u128::MAX),
    };
    let differs = |word: &Word| word.part(bound) != word.part(extreme);
    let deciding = words.iter().rposition(differs).map_or(0, |last| last + 1);
    let inside = code.label();
    for (index, word) in words[..deciding].iter().enumerate() {
        let part = word.part(bound);
        word.load_number(code, Reg::R1);
        if differs(word) {
            code.branch32(beyond, Reg::R1, part as i32, outside);
        }
        if index + 1 < deciding && part != word.part(!extreme) {
            code.branch32(within, Reg::R1, part as i32, inside);
        }
    }
    code.bind(inside);
}

/// A part of a field that one load reads.
#[derive(Clone, Copy)]
pub struct Word {
    size: Size,
    offset: i16,
    network: bool,
    /// How many bits of the field are behind it.
    shift: u32,
}

/// The words of a field, the most significant first, each aligned to its size.
pub fn words(field: Field) -> impl Iterator<Item = Word> {
    let place = field.place();
    let mut at = place.offset;
    let end = at + i16::from(place.size);
    std::iter::from_fn(move || {
        let (size, bytes) = match end - at {
            0 => return None,
            4.. if at % 4 == 0 => (Size::W, 4),
            2.. if at % 2 == 0 => (Size::H, 2),
            _ => (Size::B, 1),
        };
        let offset = at;
        at += bytes;
        Some(Word {
            size,
            offset,
            network: place.network,
            shift: 8 * (end - at) as u32,
        })
    })
}

impl Word {
    /// The greatest number that it holds.
    pub fn greatest(self) -> u32 {
        match self.size {
            Size::B => u8::MAX.into(),
            Size::H => u16::MAX.into(),
            _ => u32::MAX,
        }
    }

    /// Its part of a field's value.
    pub fn part(self, value: u128) -> u32 {
        (value >> self.shift) as u32 & self.greatest()
    }

    /// A number as a little-endian load of the word gives it.
    pub fn stored(self, number: u32) -> u32 {
        match (self.network, self.size) {
            (true, Size::H) => (number as u16).swap_bytes().into(),
            (true, Size::W) => number.swap_bytes(),
            _ => number,
        }
    }

    /// `dst = word`, as it is stored
    pub fn load(self, code: &mut Code, dst: Reg) {
        code.load(self.size, dst, PACKET, self.offset);
    }

    /// `dst = word`, in host byte order
    pub fn load_number(self, code: &mut Code, dst: Reg) {
        self.load(code, dst);
        match (self.network, self.size) {
            (true, Size::H) => code.to_big_endian(dst, 16),
            (true, Size::W) => code.to_big_endian(dst, 32),
            _ => {}
        }
    }
}

fn compare(code: &mut Code, value: u32, sense: bool, target: Label) {
    let cond = if sense { Cond::Eq } else { Cond::Ne };
    let value = Operand::Imm(value as i32);
    code.branch32(cond, Reg::R1, value, target);
}
