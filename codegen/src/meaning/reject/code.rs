//! The function that answers the sender of a dropped packet, and what its parts have in common.

use ipt2bpf_parser::ruleset::{Family, NfHook};

use super::{Answer, bucket, reset, unreachable};
use crate::asm::{Alu, Code, Cond, FunctionId, Label, Reg, Size};
use crate::emit::link::{Body, CONTEXT, Linker, PACKET, point};
use crate::emit::parse::xdp;
use crate::emit::program::{XDP_DROP, XDP_TX};
use crate::field::{Field, layout};
use crate::meaning::checksum::code as checksum;
use crate::routine::Routine;
use crate::semantic::FamilyFilter;

/// Hop limit and time to live of answers: the kernel's default (`IPDEFTTL`, include/uapi/linux/ip.h).
pub const HOPS: u8 = 64;
/// The flag "more fragments" in byte 6 of the IPv4 header.
pub const MORE_FRAGMENTS: u8 = 0x20;

/// Protocols whose packets are answered without a look at their checksum (`nf_reject_verify_csum`,
/// include/net/netfilter/nf_reject.h): GRE, ESP, AH, SCTP, UDP-Lite. Older kernels have DCCP too; 6.18 does not.
pub const UNVERIFIED: [u8; 5] = [47, 50, 51, 132, 136];
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP6: u8 = 58;
pub const NO_NEXT_HEADER: u8 = 59;

/// The function `u32 answer(context, packet)`, which gives the program's result for a dropped packet of a
/// family: the frame is its own answer, or dropped. None when no rule rejects with an answer.
pub fn link(linker: &mut Linker<'_>, filter: &FamilyFilter) -> Option<FunctionId> {
    let answers = filter.routines().filter_map(|routine| match routine {
        Routine::Reject(note) => Some(note.0),
        _ => None,
    });
    let (resets, errors): (Vec<_>, Vec<_>) = answers.partition(|it| *it == Answer::Reset);
    if resets.is_empty() && errors.is_empty() {
        return None;
    }
    let family = linker.family;
    let checksum = checksum::link(linker);
    let verify = verify(linker, checksum);
    let reset = (!resets.is_empty()).then(|| reset::link(linker));
    let unreachable = (!errors.is_empty()).then(|| {
        let bucket = bucket::link(linker);
        unreachable::link(linker, checksum, bucket)
    });
    let answer = linker.function("answer", 0, |body| {
        let drop = body.code.label();
        let code = &mut body.code;
        code.load(Size::B, Reg::R1, PACKET, layout::REJECTED);
        code.branch(Cond::Eq, Reg::R1, 0, drop);
        answerable(body, family, drop);
        call(&mut body.code, verify);
        let code = &mut body.code;
        code.branch(Cond::Eq, Reg::R0, 0, drop);
        code.load(Size::B, Reg::R1, PACKET, layout::REJECTED);
        let error = code.label();
        match (reset, unreachable) {
            (Some(reset), Some(unreachable)) => {
                let number = i32::from(Answer::Reset.number());
                code.branch(Cond::Ne, Reg::R1, number, error);
                call(code, reset);
                body.answer(Reg::R0);
                body.code.bind(error);
                call(&mut body.code, unreachable);
            }
            (Some(only), None) | (None, Some(only)) => call(code, only),
            (None, None) => code.mov(Reg::R0, XDP_DROP),
        }
        body.answer(Reg::R0);
        body.code.bind(drop);
        body.answer(XDP_DROP);
    });
    Some(answer)
}

/// What packets of both answers must be.
fn answerable(body: &mut Body, family: Family, none: Label) {
    let code = &mut body.code;
    // A frame for a group begins with an odd byte.
    code.load(Size::W, Reg::R4, CONTEXT, xdp::DATA);
    code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
    code.mov(Reg::R5, Reg::R4);
    code.alu(Alu::Add, Reg::R5, 14);
    code.branch(Cond::Gt, Reg::R5, Reg::R3, none);
    code.load(Size::B, Reg::R1, Reg::R4, 0);
    code.alu(Alu::And, Reg::R1, 1);
    code.branch(Cond::Ne, Reg::R1, 0, none);
    body.field(Reg::R1, Field::FragmentOffset);
    let code = &mut body.code;
    code.branch(Cond::Ne, Reg::R1, 0, none);
    match family {
        Family::V4 => {
            for field in [Field::Source4, Field::Destination4] {
                unicast4(&mut body.code, field, none);
            }
            let code = &mut body.code;
            let whole = code.label();
            let input = layout::nf_hook_number(NfHook::Input);
            code.load(Size::B, Reg::R1, PACKET, layout::NF_HOOK);
            code.branch(Cond::Ne, Reg::R1, i32::from(input), whole);
            point(code, None, 20, none);
            code.load(Size::B, Reg::R1, Reg::R4, 6);
            code.alu(Alu::And, Reg::R1, i32::from(MORE_FRAGMENTS));
            code.branch(Cond::Ne, Reg::R1, 0, none);
            code.bind(whole);
        }
        Family::V6 => {
            body.field(Reg::R1, Field::BrokenHeaders);
            body.code.branch(Cond::Ne, Reg::R1, 0, none);
            body.field(Reg::R1, Field::Protocol);
            let no_next = i32::from(NO_NEXT_HEADER);
            body.code.branch(Cond::Eq, Reg::R1, no_next, none);
            body.field(Reg::R1, Field::TransportLength);
            body.code.branch(Cond::Eq, Reg::R1, 0, none);
            for field in [Field::Source6, Field::Destination6] {
                let code = &mut body.code;
                code.load(Size::B, Reg::R1, PACKET, field.place().offset);
                code.branch(Cond::Eq, Reg::R1, 0xff, none);
            }
            specified(&mut body.code, Field::Source6, none);
        }
    }
}

/// Neither of this network (0/8) nor loopback, multicast or limited broadcast.
fn unicast4(code: &mut Code, field: Field, none: Label) {
    let offset = field.place().offset;
    code.load(Size::B, Reg::R1, PACKET, offset);
    code.branch(Cond::Eq, Reg::R1, 0, none);
    code.branch(Cond::Eq, Reg::R1, 127, none);
    code.alu(Alu::And, Reg::R1, 0xf0);
    code.branch(Cond::Eq, Reg::R1, 0xe0, none);
    code.load(Size::W, Reg::R1, PACKET, offset);
    code.branch32(Cond::Eq, Reg::R1, -1, none);
}

/// Not an IPv4 address in the form of an IPv6 address (RFC 4291, 2.5.5.2).
pub fn not_mapped(code: &mut Code, field: Field, none: Label) {
    let offset = field.place().offset;
    let other = code.label();
    code.load(Size::D, Reg::R1, PACKET, offset);
    code.branch(Cond::Ne, Reg::R1, 0, other);
    code.load(Size::W, Reg::R1, PACKET, offset + 8);
    // 0000:ffff as a little-endian load reads it.
    code.branch32(Cond::Eq, Reg::R1, 0xffff_0000_u32.cast_signed(), none);
    code.bind(other);
}

/// Not the unspecified IPv6 address.
pub fn specified(code: &mut Code, field: Field, none: Label) {
    let offset = field.place().offset;
    let other = code.label();
    code.load(Size::D, Reg::R1, PACKET, offset);
    code.branch(Cond::Ne, Reg::R1, 0, other);
    code.load(Size::D, Reg::R1, PACKET, offset + 8);
    code.branch(Cond::Eq, Reg::R1, 0, none);
    code.bind(other);
}

/// Where the checksum lies in the headers of TCP and UDP.
pub const fn checksum_offset(protocol: u8) -> i16 {
    match protocol {
        TCP => 16,
        _ => 6,
    }
}

/// The function that says whether the transport checksum is right or none is asked for
/// (`nf_reject_verify_csum`, `nf_ip_checksum`, `nf_ip6_checksum`). IPv4 protocols other than TCP and UDP are
/// summed as ICMP is. What a virtual device leaves to a real one to finish, the sum of the pseudo-header
/// alone, is right too (`CHECKSUM_PARTIAL`).
fn verify(linker: &mut Linker<'_>, checksum: FunctionId) -> FunctionId {
    let family = linker.family;
    linker.function("verify_checksum", 0, |body| {
        let protocol = Reg::R8;
        let [right, wrong, not_udp, whole] = [(); 4].map(|()| body.code.label());
        body.field(protocol, Field::Protocol);
        for number in UNVERIFIED {
            body.code
                .branch(Cond::Eq, protocol, i32::from(number), right);
        }
        let (tcp, udp) = (i32::from(TCP), i32::from(UDP));
        body.code.branch(Cond::Ne, protocol, udp, not_udp);
        body.field(Reg::R1, Field::TransportLength);
        body.code.branch(Cond::Lt, Reg::R1, 8, not_udp);
        body.code.load(Size::H, Reg::R9, PACKET, layout::TRANSPORT);
        let code = &mut body.code;
        point(code, Some(Reg::R9), 8, wrong);
        code.load(Size::H, Reg::R1, Reg::R4, checksum_offset(UDP));
        code.branch(Cond::Eq, Reg::R1, 0, right);
        code.bind(not_udp);
        let pseudo = Reg::R9;
        code.mov(pseudo, 0);
        if family == Family::V4 {
            let summed = code.label();
            code.branch(Cond::Eq, protocol, tcp, summed);
            code.branch(Cond::Ne, protocol, udp, whole);
            code.bind(summed);
        }
        body.field(Reg::R4, Field::TransportLength);
        let code = &mut body.code;
        checksum::pseudo_header(code, family, pseudo, protocol, Reg::R4, Reg::R1);
        checksum::fold(code, pseudo, Reg::R1);
        for (known, number) in [(tcp, TCP), (udp, UDP)] {
            let next = body.code.label();
            body.code.branch(Cond::Ne, protocol, known, next);
            let at = checksum_offset(number);
            body.field(Reg::R1, Field::TransportLength);
            let code = &mut body.code;
            code.branch(Cond::Lt, Reg::R1, i32::from(at) + 2, whole);
            code.load(Size::H, Reg::R1, PACKET, layout::TRANSPORT);
            point(code, Some(Reg::R1), i32::from(at) + 2, wrong);
            code.load(Size::H, Reg::R1, Reg::R4, at);
            code.branch(Cond::Eq, Reg::R1, pseudo, right);
            code.bind(next);
        }
        let code = &mut body.code;
        code.bind(whole);
        code.load(Size::H, Reg::R3, PACKET, layout::TRANSPORT);
        body.field(Reg::R4, Field::TransportLength);
        let code = &mut body.code;
        code.mov(Reg::R5, pseudo);
        call(code, checksum);
        code.branch(Cond::Eq, Reg::R0, 0xffff, right);
        // Nothing but zeros; the kernel adds the IPv4 header, whose sum is not zero.
        code.branch(Cond::Eq, Reg::R0, 0, right);
        code.bind(wrong);
        body.answer(0);
        body.code.bind(right);
        body.answer(1);
    })
}

/// `r0 = function(context, packet, r3, r4, r5)`
pub fn call(code: &mut Code, function: FunctionId) {
    code.mov(Reg::R1, CONTEXT);
    code.mov(Reg::R2, PACKET);
    code.call_function(function);
}

/// Writes the IP header of an answer at R4: from the packet's destination to its source. R8 holds the
/// number of bytes behind it and stays; R0 and R1 are lost.
pub fn ip_header(body: &mut Body, family: Family, protocol: u8) {
    let code = &mut body.code;
    let ip = Reg::R4;
    code.mov(Reg::R1, Reg::R8);
    match family {
        Family::V4 => {
            code.alu(Alu::Add, Reg::R1, 20);
            code.to_big_endian(Reg::R1, 16);
            code.store(Size::B, ip, 0, 0x45);
            code.store(Size::H, ip, 2, Reg::R1);
            code.store(Size::B, ip, 8, i32::from(HOPS));
            code.store(Size::B, ip, 9, i32::from(protocol));
            code.store(Size::H, ip, 10, 0);
        }
        Family::V6 => {
            code.to_big_endian(Reg::R1, 16);
            code.store(Size::W, ip, 0, 0x60);
            code.store(Size::H, ip, 4, Reg::R1);
            code.store(Size::B, ip, 6, i32::from(protocol));
            code.store(Size::B, ip, 7, i32::from(HOPS));
        }
    }
    let addresses = match family {
        Family::V4 => [(Field::Destination4, 12), (Field::Source4, 16)],
        Family::V6 => [(Field::Destination6, 8), (Field::Source6, 24)],
    };
    for (field, to) in addresses {
        let place = field.place();
        for word in (0..i16::from(place.size)).step_by(4) {
            code.load(Size::W, Reg::R1, PACKET, place.offset + word);
            code.store(Size::W, ip, to + word, Reg::R1);
        }
    }
}

/// Writes the checksum into the finished IPv4 header at R4. R0 and R1 are lost.
pub fn header_checksum(code: &mut Code) {
    sum_words(code, 0, 20);
    checksum::fold(code, Reg::R0, Reg::R1);
    code.alu(Alu::Xor, Reg::R0, 0xffff);
    code.store(Size::H, Reg::R4, 10, Reg::R0);
}

/// `r0 = sum of the 32-bit words` at an offset from R4. R1 is lost.
pub fn sum_words(code: &mut Code, from: i16, bytes: i16) {
    code.mov(Reg::R0, 0);
    for word in (from..from + bytes).step_by(4) {
        code.load(Size::W, Reg::R1, Reg::R4, word);
        code.alu(Alu::Add, Reg::R0, Reg::R1);
    }
}

/// Ends the function: the frame is sent.
pub fn send(body: &mut Body) {
    body.answer(XDP_TX);
}

/// Ends the function: there is no answer.
pub fn drop(body: &mut Body) {
    body.answer(XDP_DROP);
}

/// Bytes of an IP header without options.
pub const fn header_bytes(family: Family) -> i16 {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}
