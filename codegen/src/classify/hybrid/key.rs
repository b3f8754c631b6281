//! All that a side's trees and lists compare, in one number of 64 bits.
//!
//! ```text
//! 63  62           40 39  38         23 22  21              6 5    0
//!  g  other address    g  source port    g  destination port  group
//! ```
//! The bits marked g are zero in a key. Behind each range of values they make room for a borrow, so that one
//! subtraction compares a key with the lower ends of three ranges, and another with the upper ends. The
//! group is where a shift by the key takes its amount from.

use super::{By, emit_port};
use crate::asm::{Alu, Code, Reg};
use crate::field::Field;

/// Where fields begin, and how many bits they have.
pub const PARTS: [Part; 4] = [
    Part { shift: 6, bits: 16 },
    Part {
        shift: 23,
        bits: 16,
    },
    Part {
        shift: 40,
        bits: 23,
    },
    Part { shift: 0, bits: 6 },
];
/// The number of the destination port in [`PARTS`].
pub const DESTINATION_PORT: usize = 0;
/// The number of the source port.
pub const SOURCE_PORT: usize = 1;
/// The number of the other address.
pub const OTHER: usize = 2;
/// The number of the group.
pub const GROUP: usize = 3;
/// The bits behind the ranges.
pub const GUARDS: u64 = 1 << FIRST_GUARD | 1 << 39 | 1 << 63;
/// The lowest of them.
pub const FIRST_GUARD: u32 = 22;

/// A field of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its lowest bit.
    pub shift: u32,
    /// How many there are.
    pub bits: u32,
}

impl Part {
    /// How far left and then right a key is shifted to leave the field alone.
    pub fn shifts(self) -> (u32, u32) {
        let left = u64::BITS - self.bits - self.shift;
        (left, left + self.shift)
    }

    /// The greatest value.
    pub fn max(self) -> u32 {
        (1 << self.bits) - 1
    }
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

impl Key {
    /// Of a packet.
    pub fn new(group: u32, other: u32, source_port: u16, destination_port: u16) -> Key {
        let mut key = Key(0);
        let values = [destination_port.into(), source_port.into(), other, group];
        for (part, value) in PARTS.iter().zip(values) {
            key.0 |= u64::from(value & part.max()) << part.shift;
        }
        key
    }

    /// A field.
    pub fn get(self, part: usize) -> u32 {
        let (left, right) = PARTS[part].shifts();
        (self.0 << left >> right) as u32
    }
}

/// Ranges of three fields, as they are compared with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The lower ends, less the guards.
    pub low: u64,
    /// The upper ends, and the guards, and all bits of the group.
    pub high: u64,
}

impl Ends {
    /// Of these ranges of the first three fields.
    pub fn new(ranges: &[(u32, u32)]) -> Ends {
        let (mut low, mut high) = (0, u64::from(PARTS[GROUP].max()));
        for (part, range) in PARTS.iter().zip(ranges) {
            low |= u64::from(range.0) << part.shift;
            high |= u64::from(range.1) << part.shift;
        }
        Ends {
            low: low.wrapping_sub(GUARDS),
            high: high.wrapping_add(GUARDS),
        }
    }

    /// Whether a key is within all of them: no field has borrowed from its guard.
    pub fn contain(self, key: Key) -> bool {
        let above = key.0.wrapping_sub(self.low);
        let below = self.high.wrapping_sub(key.0);
        above & below & GUARDS == GUARDS
    }
}

/// Writes `common` = a key without the other address; `common` holds the group before, R1 is lost.
pub fn emit_common(code: &mut Code, common: Reg, ports: [bool; 2]) {
    let fields = [
        (SOURCE_PORT, Field::SourcePort),
        (DESTINATION_PORT, Field::DestinationPort),
    ];
    for ((part, field), asked) in fields.into_iter().zip(ports) {
        if asked {
            emit_port(code, Reg::R1, field);
            code.alu(Alu::Lsh, Reg::R1, PARTS[part].shift as i32);
            code.alu(Alu::Or, common, Reg::R1);
        }
    }
}

/// Writes `key` = the common key with the address that the side does not begin with.
pub fn emit_other(code: &mut Code, key: Reg, side: By, addresses: Reg, common: Reg) {
    let shift = PARTS[OTHER].shift as i32;
    code.mov(key, common);
    // R2 is not needed any more.
    let other = Reg::R2;
    match side {
        By::Source => {
            code.mov(other, addresses);
            code.alu(Alu::Rsh, other, 32);
        }
        By::Destination => code.alu32(Alu::Mov, other, addresses),
        By::Nothing => return,
    }
    code.alu(Alu::Lsh, other, shift);
    code.alu(Alu::Or, key, other);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(part: Part) -> impl Strategy<Value = (u32, u32)> {
        let near = prop_oneof![0..4u32, part.max() - 3..=part.max(), 0..=part.max()];
        (near.clone(), near).prop_map(|(a, b)| (a.min(b), a.max(b)))
    }

    fn value(part: Part) -> impl Strategy<Value = u32> {
        range(part).prop_map(|(low, _)| low)
    }

    proptest! {
        #[test]
        fn two_subtractions_compare_three_ranges(
            ranges in (range(PARTS[0]), range(PARTS[1]), range(PARTS[2])),
            values in (value(PARTS[0]), value(PARTS[1]), value(PARTS[2]), 0..64u32),
        ) {
            let key = Key::new(values.3, values.2, values.1 as u16, values.0 as u16);
            let ranges = [ranges.0, ranges.1, ranges.2];
            let values = [values.0, values.1, values.2];
            let inside = ranges.iter().zip(values).all(|((low, high), it)| (low..=high).contains(&&it));
            prop_assert_eq!(Ends::new(&ranges).contain(key), inside);
            for (part, value) in values.into_iter().enumerate() {
                prop_assert_eq!(key.get(part), value);
            }
        }
    }
}
