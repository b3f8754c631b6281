//! What arithmetic and comparisons give, as `Documentation/bpf/standardization/instruction-set.rst`
//! says: no operation traps, shifts look at the low bits of their distance only.

use crate::asm::{Alu, Cond};
use crate::encode::opcode;

const ADD: u8 = Alu::Add as u8;
const SUB: u8 = Alu::Sub as u8;
const MUL: u8 = Alu::Mul as u8;
const DIV: u8 = Alu::Div as u8;
const OR: u8 = Alu::Or as u8;
const AND: u8 = Alu::And as u8;
const LSH: u8 = Alu::Lsh as u8;
const RSH: u8 = Alu::Rsh as u8;
const MOD: u8 = Alu::Mod as u8;
const XOR: u8 = Alu::Xor as u8;
pub(super) const MOV: u8 = Alu::Mov as u8;
const ARSH: u8 = Alu::Arsh as u8;

const EQ: u8 = Cond::Eq as u8;
const GT: u8 = Cond::Gt as u8;
const GE: u8 = Cond::Ge as u8;
const SET: u8 = Cond::Set as u8;
const NE: u8 = Cond::Ne as u8;
const SGT: u8 = Cond::Sgt as u8;
const SGE: u8 = Cond::Sge as u8;
const LT: u8 = Cond::Lt as u8;
const LE: u8 = Cond::Le as u8;
const SLT: u8 = Cond::Slt as u8;
const SLE: u8 = Cond::Sle as u8;

/// `dst op src` on 64 bits; none when the operation is not one of ours.
pub(super) fn alu64(operation: u8, dst: u64, src: u64) -> Option<u64> {
    Some(match operation {
        ADD => dst.wrapping_add(src),
        SUB => dst.wrapping_sub(src),
        MUL => dst.wrapping_mul(src),
        DIV => dst.checked_div(src).unwrap_or(0),
        OR => dst | src,
        AND => dst & src,
        LSH => dst.wrapping_shl(src as u32),
        RSH => dst.wrapping_shr(src as u32),
        opcode::NEG => dst.wrapping_neg(),
        MOD => dst.checked_rem(src).unwrap_or(dst),
        XOR => dst ^ src,
        MOV => src,
        ARSH => dst.cast_signed().wrapping_shr(src as u32).cast_unsigned(),
        _ => return None,
    })
}

/// `dst op src` on the low 32 bits, the high ones zero.
pub(super) fn alu32(operation: u8, dst: u64, src: u64) -> Option<u64> {
    let (dst, src) = (dst as u32, src as u32);
    let result = match operation {
        // These look at bits that the narrow operand does not have, or at its width.
        LSH => dst.wrapping_shl(src),
        RSH => dst.wrapping_shr(src),
        ARSH => dst.cast_signed().wrapping_shr(src).cast_unsigned(),
        _ => alu64(operation, u64::from(dst), u64::from(src))? as u32,
    };
    Some(u64::from(result))
}

/// Whether `dst condition src` holds for 64-bit operands; none for an unknown condition.
pub(super) fn holds64(condition: u8, dst: u64, src: u64) -> Option<bool> {
    let (signed_dst, signed_src) = (dst.cast_signed(), src.cast_signed());
    Some(match condition {
        EQ => dst == src,
        GT => dst > src,
        GE => dst >= src,
        SET => dst & src != 0,
        NE => dst != src,
        SGT => signed_dst > signed_src,
        SGE => signed_dst >= signed_src,
        LT => dst < src,
        LE => dst <= src,
        SLT => signed_dst < signed_src,
        SLE => signed_dst <= signed_src,
        _ => return None,
    })
}

/// The same for the low 32 bits.
pub(super) fn holds32(condition: u8, dst: u64, src: u64) -> Option<bool> {
    // Sign extension keeps both orders.
    let extend = |value: u64| i64::from(value as i32).cast_unsigned();
    holds64(condition, extend(dst), extend(src))
}

/// The low `bits` bits in network byte order, on a little-endian machine.
pub(super) fn to_big_endian(value: u64, bits: i32) -> Option<u64> {
    match bits {
        16 => Some(u64::from((value as u16).swap_bytes())),
        32 => Some(u64::from((value as u32).swap_bytes())),
        64 => Some(value.swap_bytes()),
        _ => None,
    }
}
