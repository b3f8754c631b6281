//! `ip_set_get_ip4_port` and `ip_set_get_ip6_port` of net/netfilter/ipset/ip_set_getport.c.

use ipt2bpf_parser::matches::set::Side;
use ipt2bpf_parser::ruleset::Family;

use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::emit::link::Body;
use crate::field::Field;
use crate::packet::Packet;
use crate::sets::key::protocol_port;

/// Protocols whose packets have a port in the eyes of ipset, with the bytes of header that must be there.
const HEADERS: [(u8, u32); 6] = [
    (TCP, 20),
    (SCTP, 12),
    (UDP, 8),
    (UDPLITE, 8),
    (ICMP, 8),
    (ICMPV6, 8),
];
/// Those whose later fragments of IPv4 have none, and so no key. ICMPv6 is not among them.
const NO_FRAGMENTS: [u8; 5] = [TCP, SCTP, UDP, UDPLITE, ICMP];

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const NO_NEXT_HEADER: u8 = 59;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

/// The fields that decide.
pub const FIELDS: [Field; 6] = [
    Field::Protocol,
    Field::BrokenHeaders,
    Field::FragmentOffset,
    Field::TransportLength,
    Field::SourcePort,
    Field::DestinationPort,
];

fn port_field(protocol: u8, side: Side) -> Field {
    match (protocol, side) {
        // Type and code stand where other protocols have the source port.
        (ICMP | ICMPV6, _) | (_, Side::Source) => Field::SourcePort,
        (_, Side::Destination) => Field::DestinationPort,
    }
}

/// Protocol and port of a packet; none when there is no key.
pub fn of_packet(packet: &Packet<'_>, side: Side) -> Option<u32> {
    let protocol = packet.get(Field::Protocol) as u8;
    let is_later = packet.get(Field::FragmentOffset) != 0;
    match packet.family() {
        Family::V4 if protocol == 0 => return None,
        Family::V4 if is_later => {
            return (!NO_FRAGMENTS.contains(&protocol)).then(|| protocol_port(protocol, 0));
        }
        Family::V6 if is_later || protocol == NO_NEXT_HEADER => return None,
        Family::V6 if packet.get(Field::BrokenHeaders) != 0 => return None,
        Family::V4 | Family::V6 => {}
    }
    let Some((_, least)) = HEADERS.iter().find(|header| header.0 == protocol) else {
        return Some(protocol_port(protocol, 0));
    };
    if packet.get(Field::TransportLength) < u128::from(*least) {
        return None;
    }
    let port = packet.get(port_field(protocol, side)) as u16;
    Some(protocol_port(protocol, port))
}

/// Whether `bitmap:port` takes a protocol.
pub fn has_plain_port(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP)
}

/// Leaves protocol and port in R1; goes to `missing` when there is no key. With `plain`, the port alone,
/// of TCP and UDP only.
pub fn emit(body: &mut Body, family: Family, side: Side, plain: bool, missing: Label) {
    let (protocol, port) = (Reg::R1, Reg::R3);
    body.field(protocol, Field::Protocol);
    body.field(Reg::R2, Field::FragmentOffset);
    let code = &mut body.code;
    let (found, whole) = (code.label(), code.label());
    code.mov(port, 0);
    match family {
        Family::V4 => {
            if !plain {
                code.branch(Cond::Eq, protocol, 0, missing);
                code.branch(Cond::Eq, Reg::R2, 0, whole);
                for number in NO_FRAGMENTS {
                    code.branch(Cond::Eq, protocol, i32::from(number), missing);
                }
                code.jump(found);
                code.bind(whole);
            } else {
                code.branch(Cond::Ne, Reg::R2, 0, missing);
            }
        }
        Family::V6 => {
            code.branch(Cond::Ne, Reg::R2, 0, missing);
            code.branch(Cond::Eq, protocol, i32::from(NO_NEXT_HEADER), missing);
            body.field(Reg::R2, Field::BrokenHeaders);
            body.code.branch(Cond::Ne, Reg::R2, 0, missing);
        }
    }
    body.field(Reg::R2, Field::TransportLength);
    let code = &mut body.code;
    let read = code.label();
    for (number, least) in HEADERS {
        if plain && !has_plain_port(number) {
            continue;
        }
        let next = code.label();
        code.branch(Cond::Ne, protocol, i32::from(number), next);
        code.branch(Cond::Lt, Reg::R2, least as i32, missing);
        let place = port_field(number, side).place();
        code.load(Size::H, port, crate::emit::link::PACKET, place.offset);
        code.jump(read);
        code.bind(next);
    }
    code.jump(if plain { missing } else { found });
    code.bind(read);
    code.to_big_endian(port, 16);
    code.bind(found);
    match plain {
        true => code.mov(protocol, port),
        false => {
            code.alu(Alu::Lsh, protocol, 16);
            code.alu(Alu::Or, protocol, port);
        }
    }
}
