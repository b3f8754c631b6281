//! The same in bytecode, at XDP.
//!
//! Sums are of 16-bit words as a little-endian machine loads them, which gives the bytes of the right
//! sum in memory order.

use ipt2bpf_parser::ruleset::Family;

use crate::asm::{Alu, Code, Cond, FunctionId, Helper, Reg, Size};
use crate::emit::link::{Linker, PACKET, point};
use crate::field::Field;

/// What the function gives when the packet does not have the bytes: no sum of 16 bits.
pub const NO_SUM: i32 = 0x1_0000;

/// Bytes that `bpf_csum_diff` takes at once (`MAX_BPF_STACK`).
const BLOCK: i32 = 512;
/// Blocks of the longest frame: 10,240 bytes. XDP frames of one buffer fit a page.
const BLOCKS: usize = 20;

/// Where the function keeps what the verifier shall not know: off 8-byte boundaries.
const SUM: i16 = -4;
const AT: i16 = -12;
const LENGTH: i16 = -20;

/// The function `u32 checksum(context, packet, at, length, sum)`: the sum over bytes of the packet, counted
/// from the IP header, added to another of 32 bits, folded to 16 bits; or [`NO_SUM`].
pub fn link(linker: &mut Linker<'_>) -> FunctionId {
    linker.function("checksum", 3, |body| {
        let (at, length) = (Reg::R8, Reg::R9);
        let [rest, missing] = [(); 2].map(|()| body.code.label());
        let code = &mut body.code;
        code.alu32(Alu::Mov, at, Reg::R3);
        code.alu32(Alu::Mov, length, Reg::R4);
        code.store(Size::W, Reg::R10, SUM, Reg::R5);
        let block = |code: &mut Code, bytes: i32| {
            point(code, Some(at), bytes, missing);
            code.mov(Reg::R1, 0);
            code.mov(Reg::R2, 0);
            code.mov(Reg::R3, Reg::R4);
            code.mov(Reg::R4, bytes);
            code.load(Size::W, Reg::R5, Reg::R10, SUM);
            code.call(Helper::CsumDiff);
            code.store(Size::W, Reg::R10, SUM, Reg::R0);
            code.alu(Alu::Add, at, bytes);
        };
        for _ in 0..BLOCKS {
            code.branch(Cond::Lt, length, BLOCK, rest);
            block(code, BLOCK);
            code.alu(Alu::Sub, length, BLOCK);
        }
        code.branch(Cond::Ge, length, BLOCK, missing);
        code.bind(rest);
        forget(code, length, LENGTH);
        let mut bytes = BLOCK / 2;
        while bytes > 0 {
            forget(code, at, AT);
            let next = code.label();
            code.mov(Reg::R1, length);
            code.alu(Alu::And, Reg::R1, bytes);
            code.branch(Cond::Eq, Reg::R1, 0, next);
            match bytes {
                1 | 2 => {
                    let size = if bytes == 2 { Size::H } else { Size::B };
                    point(code, Some(at), bytes, missing);
                    code.load(size, Reg::R1, Reg::R4, 0);
                    code.load(Size::W, Reg::R0, Reg::R10, SUM);
                    code.alu(Alu::Add, Reg::R0, Reg::R1);
                    fold(code, Reg::R0, Reg::R1);
                    code.store(Size::W, Reg::R10, SUM, Reg::R0);
                    code.alu(Alu::Add, at, bytes);
                }
                _ => block(code, bytes),
            }
            code.bind(next);
            bytes /= 2;
        }
        code.load(Size::W, Reg::R0, Reg::R10, SUM);
        fold(code, Reg::R0, Reg::R1);
        body.answer(Reg::R0);
        body.code.bind(missing);
        body.answer(NO_SUM);
    })
}

/// Makes the verifier forget the bounds of a number of 32 bits, so that all ways here look the same to it.
fn forget(code: &mut Code, reg: Reg, offset: i16) {
    code.store(Size::W, Reg::R10, offset, reg);
    code.load(Size::W, reg, Reg::R10, offset);
}

/// Folds a sum of some 32-bit words to 16 bits: after the first step it has 33 bits, then 18, then 17.
pub fn fold(code: &mut Code, sum: Reg, spare: Reg) {
    code.mov(spare, sum);
    code.alu(Alu::Rsh, spare, 32);
    code.alu32(Alu::Mov, sum, sum);
    code.alu(Alu::Add, sum, spare);
    for _ in 0..3 {
        code.mov(spare, sum);
        code.alu(Alu::Rsh, spare, 16);
        code.alu(Alu::And, sum, 0xffff);
        code.alu(Alu::Add, sum, spare);
    }
}

/// `sum = sum of the pseudo-header` (RFC 9293 section 3.1, RFC 8200 section 8.1) for a length in a
/// register, not folded. The addresses are those in the struct; which is which makes no difference.
/// The register with the length is lost.
pub fn pseudo_header(
    code: &mut Code,
    family: Family,
    sum: Reg,
    protocol: Reg,
    length: Reg,
    spare: Reg,
) {
    code.mov(sum, protocol);
    code.alu(Alu::Lsh, sum, 8);
    code.to_big_endian(length, 32);
    code.alu(Alu::Add, sum, length);
    let fields = match family {
        Family::V4 => [Field::Source4, Field::Destination4],
        Family::V6 => [Field::Source6, Field::Destination6],
    };
    for place in fields.map(Field::place) {
        for word in (0..i16::from(place.size)).step_by(4) {
            code.load(Size::W, spare, PACKET, place.offset + word);
            code.alu(Alu::Add, sum, spare);
        }
    }
}

/// A checksum that changes with what it covers, as [`changed`](super::changed) has it.
pub struct Change {
    /// The new checksum's complement, not folded.
    sum: Reg,
}

impl Change {
    /// Begins with the checksum in a register, which becomes the sum.
    pub fn of(code: &mut Code, checksum: Reg) -> Self {
        code.alu(Alu::Xor, checksum, 0xffff);
        Change { sum: checksum }
    }

    /// A word of at most 32 bits in a register is no longer covered. The register is lost.
    pub fn take(&self, code: &mut Code, word: Reg) {
        code.alu32(Alu::Xor, word, -1);
        code.alu(Alu::Add, self.sum, word);
    }

    /// A word in a register is covered now.
    pub fn put(&self, code: &mut Code, word: Reg) {
        code.alu(Alu::Add, self.sum, word);
    }

    /// Writes the new checksum behind R4. R1 is lost.
    pub fn finish(self, code: &mut Code, at: i16) {
        fold(code, self.sum, Reg::R1);
        code.alu(Alu::Xor, self.sum, 0xffff);
        code.store(Size::H, Reg::R4, at, self.sum);
    }
}
