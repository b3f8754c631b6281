//! Jenkins' hash of at most three words, as the kernel has it (include/linux/jhash.h).

use crate::asm::{Alu, Code, Reg};

/// How the words are mixed (`__jhash_final`): each of these is `x ^= y; x -= rol(y, n)` of the words by their
/// numbers.
const MIX: [(usize, usize, u32); 7] = [
    (2, 1, 14),
    (0, 2, 11),
    (1, 0, 25),
    (2, 1, 16),
    (0, 2, 4),
    (1, 0, 14),
    (2, 1, 24),
];

/// What is added to each word: `JHASH_INITVAL`, four for each word that is hashed, and the seed.
const fn initial(count: u32, seed: u32) -> u32 {
    (0xdead_beef_u32 + (count << 2)).wrapping_add(seed)
}

/// The hash of so many words, the others being zero: `jhash_1word` to `jhash_3words`.
pub fn hash(mut words: [u32; 3], count: u32, seed: u32) -> u32 {
    words = words.map(|word| word.wrapping_add(initial(count, seed)));
    for (to, from, by) in MIX {
        let turned = words[from].rotate_left(by);
        words[to] = (words[to] ^ words[from]).wrapping_sub(turned);
    }
    words[2]
}

/// The same of words in registers, of which the last is the hash in the end. R4 and R5 are lost.
pub fn emit(code: &mut Code, words: [Reg; 3], count: u32, seed: u32) {
    for word in words {
        code.alu32(Alu::Add, word, initial(count, seed).cast_signed());
    }
    for (to, from, by) in MIX {
        rotate(code, Reg::R4, words[from], by as i32, Reg::R5);
        code.alu32(Alu::Xor, words[to], words[from]);
        code.alu32(Alu::Sub, words[to], Reg::R4);
    }
}

/// `dst = src, its 32 bits rotated to the left`
pub fn rotate(code: &mut Code, dst: Reg, src: Reg, by: i32, spare: Reg) {
    code.alu32(Alu::Mov, dst, src);
    code.alu32(Alu::Mov, spare, src);
    code.alu32(Alu::Lsh, dst, by);
    code.alu32(Alu::Rsh, spare, 32 - by);
    code.alu32(Alu::Or, dst, spare);
}

/// `word = word * scale >> 32`: from all numbers to those below a bound (`reciprocal_scale`). R4 is lost.
pub fn emit_scale(code: &mut Code, word: Reg, scale: u32) {
    code.alu32(Alu::Mov, Reg::R4, scale.cast_signed());
    code.alu(Alu::Mul, word, Reg::R4);
    code.alu(Alu::Rsh, word, 32);
}

/// See [`emit_scale`].
pub fn scale(word: u32, scale: u32) -> u32 {
    ((u64::from(word) * u64::from(scale)) >> 32) as u32
}
