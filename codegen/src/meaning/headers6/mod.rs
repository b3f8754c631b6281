//! The matches on IPv6 extension headers. Each looks for the first header of its kind by itself, with
//! `ipv6_find_hdr` of net/ipv6/exthdrs_core.c, and needs no `-p`.

pub mod ah;
pub mod frag;
pub mod ipv6header;
pub mod options;
pub mod rt;
pub mod srh;

use ipt2bpf_parser::range::Range;
use ipt2bpf_parser::ruleset::Negatable;

use super::{BROKEN, NO, YES};
use crate::asm::{Alu, Code, Cond, FunctionId, Label, Operand, Reg, Size};
use crate::emit::link::{self, Body, Linker};
use crate::emit::worker::{forget, join};
use crate::field::layout;
use crate::packet::MAX_EXTENSION_HEADERS;

/// The numbers of extension headers (include/net/ipv6.h).
mod kind {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION: u8 = 60;
    pub const ALL: [u8; 5] = [HOP_BY_HOP, DESTINATION, AUTHENTICATION, ROUTING, FRAGMENT];
}

/// The answer for something that may be there and may be broken.
fn answer(found: Result<bool, Broken>) -> u32 {
    match found {
        Ok(false) => NO,
        Ok(true) => YES,
        Err(Broken) => BROKEN,
    }
}

/// What makes the kernel drop a packet.
struct Broken;

/// Where the first header of a kind begins; none when the headers end without it, or a later fragment
/// hides it.
fn find(bytes: &[u8], wanted: u8) -> Result<Option<usize>, Broken> {
    let mut kind = bytes[6];
    let mut at = 40;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !kind::ALL.contains(&kind) {
            return Ok(None);
        }
        let read = match kind {
            kind::ROUTING | kind::FRAGMENT => 4,
            _ => 2,
        };
        let header = bytes.get(at..at + read).ok_or(Broken)?;
        if kind == wanted {
            return Ok(Some(at));
        }
        let length = match kind {
            kind::FRAGMENT if header[2] != 0 || header[3] & 0xf8 != 0 => return Ok(None),
            kind::FRAGMENT => 8,
            kind::AUTHENTICATION => 4 * (usize::from(header[1]) + 2),
            _ => 8 * (usize::from(header[1]) + 1),
        };
        kind = header[0];
        at += length;
    }
    Err(Broken)
}

/// Where a header was found, in a routine: counted from the IP header.
const AT: Reg = Reg::R8;

/// `at = find(...)`; goes to a label where there is none.
fn emit_find(body: &mut Body, finder: FunctionId, wanted: u8, absent: Label, broken: Label) {
    let code = &mut body.code;
    code.load(Size::W, Reg::R4, link::PACKET, layout::LENGTH);
    body.frame_offset(AT);
    let code = &mut body.code;
    code.alu(Alu::Add, Reg::R4, AT);
    code.mov(Reg::R2, AT);
    join(code, Reg::R2, Reg::R4);
    code.mov(Reg::R1, link::CONTEXT);
    code.mov(Reg::R3, i32::from(wanted));
    code.call_function(finder);
    code.branch(Cond::Eq, Reg::R0, NO as i32, absent);
    code.branch(Cond::Eq, Reg::R0, BROKEN as i32, broken);
    code.alu(Alu::Sub, Reg::R0, AT);
    code.mov(AT, Reg::R0);
}

/// `u64 find(context, place of the IP header | end << 32, kind)`: where the header begins in the frame,
/// or [`NO`] or [`BROKEN`], which are in front of any header.
fn finder(linker: &mut Linker<'_>) -> FunctionId {
    /// The first bytes of a header.
    const HEADER: i16 = -4;
    /// The kind of header that comes next.
    const NEXT: i16 = -5;
    const WANTED: i16 = -12;
    const SPARE: i16 = -20;
    linker.worker("find_header", 2, |worker| {
        let (at, end, round) = (Reg::R7, Reg::R8, Reg::R9);
        worker.code.store(Size::W, Reg::R10, WANTED, Reg::R3);
        worker.split(Reg::R2, at, end);
        let code = &mut worker.code;
        let [
            again,
            long,
            short,
            read,
            options,
            advance,
            no,
            broken,
            found,
        ] = [(); 9].map(|()| code.label());
        code.alu(Alu::Add, at, 6);
        worker.bytes(at, end, 1, NEXT, broken);
        let code = &mut worker.code;
        code.alu(Alu::Add, at, 34);
        code.mov(round, 0);
        code.bind(again);
        code.load(Size::B, Reg::R1, Reg::R10, NEXT);
        for (number, label) in [
            (kind::ROUTING, long),
            (kind::FRAGMENT, long),
            (kind::HOP_BY_HOP, short),
            (kind::DESTINATION, short),
        ] {
            code.branch(Cond::Eq, Reg::R1, i32::from(number), label);
        }
        code.branch(Cond::Ne, Reg::R1, i32::from(kind::AUTHENTICATION), no);
        code.bind(short);
        worker.bytes(at, end, 2, HEADER, broken);
        worker.code.jump(read);
        worker.code.bind(long);
        worker.bytes(at, end, 4, HEADER, broken);
        let code = &mut worker.code;
        code.bind(read);
        code.load(Size::B, Reg::R1, Reg::R10, NEXT);
        code.load(Size::W, Reg::R2, Reg::R10, WANTED);
        code.branch(Cond::Eq, Reg::R1, Reg::R2, found);
        code.load(Size::B, Reg::R2, Reg::R10, HEADER + 1);
        code.branch(Cond::Ne, Reg::R1, i32::from(kind::AUTHENTICATION), options);
        code.alu(Alu::Add, Reg::R2, 2);
        code.alu(Alu::Lsh, Reg::R2, 2);
        code.jump(advance);
        code.bind(options);
        code.alu(Alu::Add, Reg::R2, 1);
        code.alu(Alu::Lsh, Reg::R2, 3);
        code.branch(Cond::Ne, Reg::R1, i32::from(kind::FRAGMENT), advance);
        code.load(Size::H, Reg::R1, Reg::R10, HEADER + 2);
        code.to_big_endian(Reg::R1, 16);
        code.branch(Cond::Set, Reg::R1, 0xfff8, no);
        code.mov(Reg::R2, 8);
        code.bind(advance);
        code.alu(Alu::Add, at, Reg::R2);
        forget(code, at, SPARE);
        code.load(Size::B, Reg::R1, Reg::R10, HEADER);
        code.store(Size::B, Reg::R10, NEXT, Reg::R1);
        code.alu(Alu::Add, round, 1);
        code.branch(Cond::Lt, round, MAX_EXTENSION_HEADERS as i32, again);
        code.bind(broken);
        worker.answer(BROKEN as i32);
        worker.code.bind(no);
        worker.answer(NO as i32);
        worker.code.bind(found);
        worker.answer(at);
    })
}

/// Goes to `missing` unless the packet has so many bytes of the header that was found. R0 is lost.
fn emit_whole(code: &mut Code, length: Reg, missing: Label) {
    code.load(Size::W, Reg::R0, link::PACKET, layout::LENGTH);
    code.alu(Alu::Sub, Reg::R0, AT);
    code.branch(Cond::Gt, length, Reg::R0, missing);
}

/// Goes to `outside` unless a number of 32 bits lies in the range, or, inverted, in it. R1 is lost.
fn emit_range(code: &mut Code, number: Reg, low: u32, high: u32, negated: bool, outside: Label) {
    code.alu32(Alu::Mov, Reg::R1, number);
    code.alu32(Alu::Sub, Reg::R1, low as i32);
    let (cond, bound) = match (high.checked_sub(low), negated) {
        (Some(width), false) => (Cond::Gt, width),
        (Some(width), true) => (Cond::Le, width),
        // No number is inside. What follows must be in reach.
        (None, false) => (Cond::Ge, 0),
        (None, true) => (Cond::Lt, 0),
    };
    code.branch32(cond, Reg::R1, Operand::Imm(bound as i32), outside);
}

/// The same for one number.
fn emit_equal(code: &mut Code, number: Reg, value: u32, negated: bool, other: Label) {
    emit_range(code, number, value, value, negated, other);
}

/// The numbers of an option, where it is given.
fn is_in(range: &(Range<u32>, bool), number: u32) -> bool {
    let (Range { low, high }, negated) = range;
    (low..=high).contains(&&number) != *negated
}

/// An option that is compared with one number.
fn is_number(wanted: &Option<(u32, bool)>, number: u32) -> bool {
    wanted.is_none_or(|(value, negated)| (number == value) != negated)
}

/// An option's value, and whether it is inverted.
fn plain<T: Copy + std::fmt::Debug>(option: &Negatable<T>) -> (T, bool) {
    (option.value.value, option.negated)
}
