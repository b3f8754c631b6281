//! The ICMP error about a packet, of which its first bytes become the end: `icmp_send` (net/ipv4/icmp.c)
//! and `icmp6_send` (net/ipv6/icmp.c) for "destination unreachable".

use ipt2bpf_parser::ruleset::{Family, NfHook};

use super::FIRST_CODE;
use super::code::{self, ICMP, ICMP6, call, header_bytes, header_checksum, ip_header};
use crate::asm::{Alu, Cond, FunctionId, Helper, Label, Reg, Size};
use crate::emit::link::{Body, CONTEXT, Linker, PACKET, point};
use crate::emit::parse::xdp;
use crate::emit::program::fib;
use crate::field::{Field, layout};
use crate::meaning::checksum::code::{self as checksum, NO_SUM};

/// Bytes of the ICMP header.
pub const ICMP_HEADER: i16 = 8;
/// The greatest ICMP type that the kernel knows (`NR_ICMP_TYPES`).
pub const LAST_TYPE: u8 = 18;
/// The ICMP types up to that which are no errors, and so are answered: echo and its reply, timestamp,
/// information, address mask and theirs (`icmp_pointers`, net/ipv4/icmp.c). One bit each.
pub const QUERIES: u32 = 0x7_e101;
/// The first ICMPv6 type that is no error.
pub const FIRST_QUERY6: u8 = 128;
/// The source of an IPv4 error from a host without an address (RFC 7600, `INADDR_DUMMY`).
pub const DUMMY_SOURCE: [u8; 4] = [192, 0, 0, 8];
/// The part of the type of service that an IPv4 error takes over, and what is added: precedence
/// "internetwork control" (RFC 1812, 4.3.2.5).
pub const TOS_MASK: u8 = 0x1e;
/// See [`TOS_MASK`].
pub const TOS_PRECEDENCE: u8 = 0xc0;

/// The most bytes of an error: 576 (RFC 1812, 4.3.2.3), or IPv6's least MTU (RFC 4443, 2.4).
pub const fn most_bytes(family: Family) -> i16 {
    match family {
        Family::V4 => 576,
        Family::V6 => 1280,
    }
}

/// The ICMP type "destination unreachable".
pub const fn unreachable_type(family: Family) -> u8 {
    match family {
        Family::V4 => 3,
        Family::V6 => 1,
    }
}

const FIB_SOURCE: i32 = 1 << 4;
const FIB_SKIP_NEIGHBOUR: i32 = 1 << 2;

/// On the stack: the identification of an IPv4 error.
const IDENTIFICATION: i16 = -4;

/// The function `u32 unreachable(context, packet)`: the program's result.
pub fn link(linker: &mut Linker<'_>, checksum: FunctionId, bucket: FunctionId) -> FunctionId {
    let family = linker.family;
    let source = source(linker);
    linker.function("unreachable", 0, |body| {
        let drop = body.code.label();
        let here = body.code.label();
        eligible(body, family, drop);
        let forward = layout::nf_hook_number(NfHook::Forward);
        let code = &mut body.code;
        code.load(Size::B, Reg::R1, PACKET, layout::NF_HOOK);
        code.branch(Cond::Ne, Reg::R1, i32::from(forward), here);
        call(code, source);
        code.branch(Cond::Eq, Reg::R0, 0, drop);
        code.bind(here);
        call(code, bucket);
        code.branch(Cond::Eq, Reg::R0, 0, drop);
        if family == Family::V4 {
            code.call(Helper::GetPrandomU32);
            code.store(Size::W, Reg::R10, IDENTIFICATION, Reg::R0);
        }
        make_room(body, family, drop);

        let quoted = Reg::R8;
        let icmp = header_bytes(family);
        let code = &mut body.code;
        point(code, None, i32::from(icmp + ICMP_HEADER), drop);
        code.alu(Alu::Add, quoted, i32::from(ICMP_HEADER));
        ip_header(body, family, protocol(family));
        let code = &mut body.code;
        if family == Family::V4 {
            code.load(
                Size::B,
                Reg::R1,
                PACKET,
                Field::TypeOfService.place().offset,
            );
            code.alu(Alu::And, Reg::R1, i32::from(TOS_MASK));
            code.alu(Alu::Or, Reg::R1, i32::from(TOS_PRECEDENCE));
            code.store(Size::B, Reg::R4, 1, Reg::R1);
            code.load(Size::W, Reg::R1, Reg::R10, IDENTIFICATION);
            code.store(Size::H, Reg::R4, 4, Reg::R1);
            code.store(Size::H, Reg::R4, 6, 0);
            header_checksum(code);
        }
        let kind = i32::from(unreachable_type(family));
        code.store(Size::B, Reg::R4, icmp, kind);
        code.load(Size::B, Reg::R1, PACKET, layout::REJECTED);
        code.alu(Alu::Sub, Reg::R1, i32::from(FIRST_CODE));
        code.store(Size::B, Reg::R4, icmp + 1, Reg::R1);
        code.store(Size::H, Reg::R4, icmp + 2, 0);
        code.store(Size::W, Reg::R4, icmp + 4, 0);

        code.mov(Reg::R5, 0);
        if family == Family::V6 {
            code.mov(Reg::R3, i32::from(ICMP6));
            code.mov(Reg::R4, Reg::R8);
            checksum::pseudo_header(code, family, Reg::R5, Reg::R3, Reg::R4, Reg::R1);
            checksum::fold(code, Reg::R5, Reg::R1);
        }
        code.mov(Reg::R3, i32::from(icmp));
        code.mov(Reg::R4, Reg::R8);
        call(code, checksum);
        code.branch(Cond::Eq, Reg::R0, NO_SUM, drop);
        code.alu(Alu::Xor, Reg::R0, 0xffff);
        code.mov(Reg::R9, Reg::R0);
        point(code, None, i32::from(icmp + ICMP_HEADER), drop);
        code.store(Size::H, Reg::R4, icmp + 2, Reg::R9);
        code::send(body);
        body.code.bind(drop);
        code::drop(body);
    })
}

fn protocol(family: Family) -> u8 {
    match family {
        Family::V4 => ICMP,
        Family::V6 => ICMP6,
    }
}

/// No options in the IPv4 header, and no ICMP error itself.
fn eligible(body: &mut Body, family: Family, drop: Label) {
    let other = body.code.label();
    if family == Family::V4 {
        let code = &mut body.code;
        point(code, None, 20, drop);
        code.load(Size::B, Reg::R1, Reg::R4, 0);
        code.branch(Cond::Ne, Reg::R1, 0x45, drop);
    }
    body.field(Reg::R1, Field::Protocol);
    let icmp = i32::from(protocol(family));
    body.code.branch(Cond::Ne, Reg::R1, icmp, other);
    body.field(Reg::R1, Field::TransportLength);
    let code = &mut body.code;
    code.branch(Cond::Eq, Reg::R1, 0, drop);
    code.load(Size::H, Reg::R8, PACKET, layout::TRANSPORT);
    point(code, Some(Reg::R8), 1, drop);
    code.load(Size::B, Reg::R1, Reg::R4, 0);
    match family {
        Family::V4 => {
            code.branch(Cond::Gt, Reg::R1, i32::from(LAST_TYPE), drop);
            code.mov(Reg::R2, QUERIES.cast_signed());
            code.alu(Alu::Rsh, Reg::R2, Reg::R1);
            code.alu(Alu::And, Reg::R2, 1);
            code.branch(Cond::Eq, Reg::R2, 0, drop);
        }
        Family::V6 => code.branch(Cond::Lt, Reg::R1, i32::from(FIRST_QUERY6), drop),
    }
    code.bind(other);
}

/// Cuts the frame behind what is quoted, whose length is left in R8, and puts the Ethernet header before
/// it, addresses swapped, with room for the headers of the error between them.
fn make_room(body: &mut Body, family: Family, drop: Label) {
    let code = &mut body.code;
    let quoted = Reg::R8;
    let grow = header_bytes(family) + ICMP_HEADER;
    let most = i32::from(most_bytes(family) - grow);
    let short = code.label();
    code.load(Size::W, quoted, PACKET, layout::LENGTH);
    code.branch(Cond::Le, quoted, most, short);
    code.mov(quoted, most);
    code.bind(short);
    code.load(Size::B, Reg::R2, PACKET, layout::IP_HEADER);
    code.alu(Alu::Add, Reg::R2, quoted);
    code.load(Size::W, Reg::R1, CONTEXT, xdp::DATA_END);
    code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA);
    code.alu(Alu::Sub, Reg::R1, Reg::R3);
    code.alu(Alu::Sub, Reg::R2, Reg::R1);
    code.mov(Reg::R1, CONTEXT);
    code.call(Helper::XdpAdjustTail);
    code.branch(Cond::Ne, Reg::R0, 0, drop);
    code.mov(Reg::R1, CONTEXT);
    code.mov(Reg::R2, -i32::from(grow));
    code.call(Helper::XdpAdjustHead);
    code.branch(Cond::Ne, Reg::R0, 0, drop);
    // With all its tags the header has 22 bytes; what follows is written later.
    code.load(Size::W, Reg::R4, CONTEXT, xdp::DATA);
    code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
    code.mov(Reg::R5, Reg::R4);
    code.alu(Alu::Add, Reg::R5, i32::from(grow) + 24);
    code.branch(Cond::Gt, Reg::R5, Reg::R3, drop);
    for (size, from, to) in [
        (Size::W, 6, 0),
        (Size::H, 10, 4),
        (Size::W, 0, 6),
        (Size::H, 4, 10),
        (Size::D, 12, 12),
        (Size::W, 20, 20),
    ] {
        code.load(size, Reg::R1, Reg::R4, grow + from);
        code.store(size, Reg::R4, to, Reg::R1);
    }
}

/// The function that puts the address this host sends errors from in the place of a forwarded packet's
/// destination: what routing prefers on the way to the packet's source. 0 when there is none.
fn source(linker: &mut Linker<'_>) -> FunctionId {
    let family = linker.family;
    linker.function("source_address", 0, |body| {
        let none = body.code.label();
        let lookup = -fib::SIZE as i16;
        let code = &mut body.code;
        for offset in (0..fib::SIZE as i16).step_by(8) {
            code.store(Size::D, Reg::R10, lookup + offset, 0);
        }
        code.load(Size::W, Reg::R1, CONTEXT, xdp::INGRESS_IFINDEX);
        code.store(Size::W, Reg::R10, lookup + fib::IFINDEX, Reg::R1);
        let (number, from, to) = match family {
            Family::V4 => (fib::AF_INET, Field::Source4, Field::Destination4),
            Family::V6 => (fib::AF_INET6, Field::Source6, Field::Destination6),
        };
        code.store(Size::B, Reg::R10, lookup + fib::FAMILY, number);
        if family == Family::V4 {
            code.load(
                Size::B,
                Reg::R1,
                PACKET,
                Field::TypeOfService.place().offset,
            );
            code.alu(Alu::And, Reg::R1, i32::from(TOS_MASK));
            code.alu(Alu::Or, Reg::R1, i32::from(TOS_PRECEDENCE));
            code.store(Size::B, Reg::R10, lookup + fib::TOS, Reg::R1);
        }
        let words = || (0..i16::from(from.place().size)).step_by(4);
        for word in words() {
            code.load(Size::W, Reg::R1, PACKET, from.place().offset + word);
            let at = lookup + fib::DESTINATION + word;
            code.store(Size::W, Reg::R10, at, Reg::R1);
        }
        code.mov(Reg::R1, CONTEXT);
        body.stack(Reg::R2, lookup);
        let code = &mut body.code;
        code.mov(Reg::R3, fib::SIZE);
        code.mov(Reg::R4, FIB_SOURCE | FIB_SKIP_NEIGHBOUR);
        code.call(Helper::FibLookup);
        code.branch(Cond::Ne, Reg::R0, fib::SUCCESS, none);
        for word in words() {
            code.load(Size::W, Reg::R1, Reg::R10, lookup + fib::SOURCE + word);
            if family == Family::V4 {
                let known = code.label();
                code.branch(Cond::Ne, Reg::R1, 0, known);
                code.mov(Reg::R1, i32::from_le_bytes(DUMMY_SOURCE));
                code.bind(known);
            }
            code.store(Size::W, PACKET, to.place().offset + word, Reg::R1);
        }
        body.answer(1);
        body.code.bind(none);
        body.answer(0);
    })
}
