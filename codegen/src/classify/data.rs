//! The bytes of a classifier: arrays of numbers, least significant byte first.

use crate::asm::{Alu, Code, Cond, Imm64, Label, MapId, Operand, Reg, Size};

/// Where the bytes of a classifier lie in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The map of constant bytes.
    pub map: MapId,
    /// Its first byte.
    pub start: u32,
    /// Where a look-up goes when a number is out of bounds, which only the verifier believes.
    pub escape: Label,
}

/// An array of numbers in some [`Data`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// The first byte.
    pub offset: u32,
    /// Bytes of a number, as a power of two: 0, 1 or 2.
    pub shift: u8,
    /// How many.
    pub length: u32,
}

/// Bytes in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data(Vec<u8>);

/// Bytes of a cache line, to which arrays are aligned.
const LINE: usize = 64;

impl Data {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends an array, in numbers as small as the greatest allows.
    pub fn array(&mut self, values: &[u32]) -> Array {
        let greatest = values.iter().copied().max().unwrap_or(0);
        let shift = match greatest {
            0..=0xff => 0,
            0x100..=0xffff => 1,
            _ => 2,
        };
        let offset = self.align();
        for value in values {
            self.0.extend(&value.to_le_bytes()[..1 << shift]);
        }
        Array {
            offset,
            shift,
            length: values.len() as u32,
        }
    }

    /// Appends numbers of 4 bytes, and tells where the first begins.
    pub fn words(&mut self, words: impl IntoIterator<Item = u32>) -> u32 {
        let offset = self.align();
        for word in words {
            self.0.extend(word.to_le_bytes());
        }
        offset
    }

    fn align(&mut self) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(LINE), 0);
        self.0.len() as u32
    }

    /// A number of 4 bytes.
    pub fn word(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// A number of 8 bytes.
    pub fn long(&self, offset: usize) -> u64 {
        u64::from(self.word(offset)) | u64::from(self.word(offset + 4)) << 32
    }
}

impl Array {
    /// Bytes of all numbers.
    pub fn size(&self) -> usize {
        (self.length as usize) << self.shift
    }

    /// The number at an index.
    pub fn get(&self, data: &Data, index: u32) -> u32 {
        let start = self.offset as usize + ((index as usize) << self.shift);
        let bytes = data.bytes().iter().skip(start).take(1 << self.shift);
        bytes.rfold(0, |number, &byte| number << 8 | u32::from(byte))
    }

    /// `dst = array[dst]`; R1 is lost.
    pub fn emit(&self, code: &mut Code, dst: Reg, place: Place) {
        let length = Operand::Imm(self.length as i32);
        code.branch(Cond::Ge, dst, length, place.escape);
        if self.shift > 0 {
            code.alu(Alu::Lsh, dst, i32::from(self.shift));
        }
        let first = Imm64::MapValue(place.map, place.start + self.offset);
        code.load_imm64(Reg::R1, first);
        code.alu(Alu::Add, Reg::R1, dst);
        let size = match self.shift {
            0 => Size::B,
            1 => Size::H,
            _ => Size::W,
        };
        code.load(size, dst, Reg::R1, 0);
    }
}
