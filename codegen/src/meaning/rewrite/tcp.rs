//! Changes of a TCP header at XDP: the reference, and what the bytecode of several targets has in common.
//!
//! The checksum of a frame that has only passed virtual devices may be left to a real one to finish
//! (`CHECKSUM_PARTIAL`). It then is the sum of the pseudo-header, which a change of the segment leaves as it
//! is (`inet_proto_csum_replace4`, net/core/utils.c).

use crate::asm::{Alu, Cond, FunctionId, Label, Reg, Size};
use crate::emit::link::{Body, CONTEXT, Linker, PACKET, point};
use crate::emit::options::{self, END, TcpOptions};
use crate::emit::parse::xdp;
use crate::emit::worker::forget;
use crate::field::{Field, layout};
use crate::meaning::checksum::{changed, code as checksum, fold, pseudo_header, sum};
use crate::packet::Packet;

/// Bytes of a TCP header without options.
pub const HEADER: usize = 20;
/// Where the checksum lies in it.
const CHECKSUM: usize = 16;
const TCP: u8 = 6;

/// Whether the checksum is left to a device to finish.
pub fn is_unfinished(packet: &Packet<'_>) -> bool {
    let segment = packet.bytes().get(packet.transport()..);
    let segment = segment.unwrap_or_default();
    let pseudo = pseudo_header(packet, TCP, segment);
    let told = segment.get(CHECKSUM..CHECKSUM + 2);
    told == Some(&fold(pseudo).to_be_bytes()) && fold(pseudo + sum(segment)) != u16::MAX
}

/// Writes bytes that begin at an even offset of the header, and the checksum.
pub fn write(packet: &mut Packet<'_>, at: usize, new: &[u8]) {
    let unfinished = is_unfinished(packet);
    let start = packet.transport();
    let segment = &mut packet.bytes_mut()[start..];
    let old = segment[at..at + new.len()].to_vec();
    segment[at..at + new.len()].copy_from_slice(new);
    if !unfinished {
        update_checksum(segment, &old, new);
    }
}

/// Writes the checksum of a segment in which other bytes than before lie at an even offset.
pub fn update_checksum(segment: &mut [u8], old: &[u8], new: &[u8]) {
    let sum = u16::from_be_bytes([segment[CHECKSUM], segment[CHECKSUM + 1]]);
    let sum = changed(sum, old, new);
    segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The same where the checksum is the sum of the pseudo-header: the segment has another length.
pub fn lengthen(segment: &mut [u8], old: u16, new: u16) {
    let sum = u64::from(u16::from_be_bytes([
        segment[CHECKSUM],
        segment[CHECKSUM + 1],
    ]));
    let sum = fold(sum + u64::from(!old) + u64::from(new));
    segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
}

/// `dst = the length of the header in bytes, as it says`
pub fn header(body: &mut Body, dst: Reg) {
    body.field(dst, Field::TcpDataOffset);
    body.code.alu(Alu::Rsh, dst, 4);
    body.code.alu(Alu::Lsh, dst, 2);
}

/// Copies the options of a whole header to the stack, and their number of bytes to R8; goes to `missing`
/// when the frame does not have them. R1 to R5 and R9 are lost. Behind the options lies anything, of which
/// the verifier knows nothing, so that all ways here look the same to it. `spare` is a place on the stack for
/// [`forget`].
pub fn copy_options(body: &mut Body, to: i16, spare: i16, missing: Label) {
    header(body, END);
    let code = &mut body.code;
    code.alu(Alu::Sub, END, HEADER as i32);
    code.load(Size::W, Reg::R1, PACKET, layout::LENGTH);
    for word in (0..options::SIZE).step_by(8) {
        code.store(Size::D, Reg::R10, to + word, Reg::R1);
    }
    code.load(Size::H, Reg::R9, PACKET, layout::TRANSPORT);
    point(code, Some(Reg::R9), HEADER as i32, missing);
    let copied = code.label();
    for word in (0..options::SIZE).step_by(4) {
        let from = HEADER as i16 + word;
        code.branch(Cond::Le, END, i32::from(word), copied);
        code.mov(Reg::R5, Reg::R4);
        code.alu(Alu::Add, Reg::R5, i32::from(from) + 4);
        code.branch(Cond::Gt, Reg::R5, Reg::R3, missing);
        code.load(Size::W, Reg::R1, Reg::R4, from);
        code.store(Size::W, Reg::R10, to + word, Reg::R1);
    }
    code.bind(copied);
    forget(code, END, spare);
    // What was copied and what was not becomes the same to the verifier.
    for word in (0..options::SIZE).step_by(4) {
        code.load(Size::W, Reg::R1, Reg::R10, to + word);
        forget(code, Reg::R1, spare);
        code.store(Size::W, Reg::R10, to + word, Reg::R1);
    }
}

/// The walks over options that [`copy_options`] has copied.
pub fn options(body: &mut Body, at: i16, spare: i16) -> TcpOptions<'_> {
    TcpOptions {
        code: &mut body.code,
        bytes: at,
        spare: Some(spare),
        packet: (PACKET, 0),
    }
}

/// R4 = the TCP header in the frame, of which so many bytes are there; R3 the frame's end. R2, R5 and R9 are
/// lost.
pub fn point_to_header(body: &mut Body, bytes: i32, missing: Label) {
    body.code.load(Size::H, Reg::R9, PACKET, layout::TRANSPORT);
    point(&mut body.code, Some(Reg::R9), bytes, missing);
}

/// The checksum of the header at R4 into R0, as the beginning of a change.
pub fn begin_checksum(body: &mut Body) -> checksum::Change {
    body.code.load(Size::H, Reg::R0, Reg::R4, CHECKSUM as i16);
    checksum::Change::of(&mut body.code, Reg::R0)
}

/// Writes a changed checksum to the header at R4.
pub fn finish_checksum(body: &mut Body, change: checksum::Change) {
    change.finish(&mut body.code, CHECKSUM as i16);
}

/// Changes the sum of the pseudo-header, which is the checksum at R4, for a length of the segment that grows
/// by so many bytes. R0 to R2 are lost.
pub fn lengthen_pseudo_header(body: &mut Body, by: i32) {
    let (sum, length) = (Reg::R0, Reg::R2);
    body.field(length, Field::TransportLength);
    let code = &mut body.code;
    code.load(Size::H, sum, Reg::R4, CHECKSUM as i16);
    code.mov(Reg::R1, length);
    code.to_big_endian(Reg::R1, 16);
    code.alu32(Alu::Xor, Reg::R1, -1);
    code.alu(Alu::Add, sum, Reg::R1);
    code.alu(Alu::Add, length, by);
    code.to_big_endian(length, 16);
    code.alu(Alu::Add, sum, length);
    checksum::fold(code, sum, Reg::R1);
    code.store(Size::H, Reg::R4, CHECKSUM as i16, sum);
}

/// The function `u32 unfinished(context, packet)`: whether the checksum is left to a device to finish.
pub fn unfinished(linker: &mut Linker<'_>) -> FunctionId {
    let family = linker.family;
    let checksum = checksum::link(linker);
    linker.function("unfinished_checksum", 0, |body| {
        let (told, pseudo, no) = (Reg::R9, Reg::R8, body.code.label());
        point_to_header(body, CHECKSUM as i32 + 2, no);
        body.code.load(Size::H, told, Reg::R4, CHECKSUM as i16);
        body.field(Reg::R4, Field::TransportLength);
        let code = &mut body.code;
        code.mov(Reg::R3, i32::from(TCP));
        checksum::pseudo_header(code, family, pseudo, Reg::R3, Reg::R4, Reg::R1);
        checksum::fold(code, pseudo, Reg::R1);
        code.branch(Cond::Ne, pseudo, told, no);
        code.load(Size::H, Reg::R3, PACKET, layout::TRANSPORT);
        body.field(Reg::R4, Field::TransportLength);
        let code = &mut body.code;
        code.mov(Reg::R5, pseudo);
        code.mov(Reg::R1, CONTEXT);
        code.mov(Reg::R2, PACKET);
        code.call_function(checksum);
        code.branch(Cond::Eq, Reg::R0, 0xffff, no);
        body.answer(1);
        body.code.bind(no);
        body.answer(0);
    })
}

/// Calls that function: `r0 = whether it is`.
pub fn call(body: &mut Body, unfinished: FunctionId) {
    body.code.mov(Reg::R1, CONTEXT);
    body.code.mov(Reg::R2, PACKET);
    body.code.call_function(unfinished);
}

/// Makes the frame so long that so many bytes more fit behind the packet; goes to `none` where there is no
/// room. R0 to R5 are lost.
pub fn make_room(body: &mut Body, bytes: i32, none: Label) {
    let code = &mut body.code;
    let (wanted, enough) = (Reg::R2, code.label());
    code.load(Size::B, wanted, PACKET, layout::IP_HEADER);
    code.load(Size::W, Reg::R1, PACKET, layout::LENGTH);
    code.alu(Alu::Add, wanted, Reg::R1);
    code.alu(Alu::Add, wanted, bytes);
    code.load(Size::W, Reg::R1, CONTEXT, xdp::DATA_END);
    code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA);
    code.alu(Alu::Sub, Reg::R1, Reg::R3);
    code.alu(Alu::Sub, wanted, Reg::R1);
    code.branch(Cond::Sle, wanted, 0, enough);
    code.mov(Reg::R1, CONTEXT);
    code.call(crate::asm::Helper::XdpAdjustTail);
    code.branch(Cond::Ne, Reg::R0, 0, none);
    code.bind(enough);
}
