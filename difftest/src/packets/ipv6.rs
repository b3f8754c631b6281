//! IPv6 packets (RFC 8200) with chains of extension headers, good and bad.

use fastrand::Rng;

use super::{address, bytes, class, one_in, padding, transport};
use crate::constants::Aim;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// A packet with these low 16 bits of the flow label.
pub fn packet(random: &mut Rng, aim: &Aim, id: u16) -> Vec<u8> {
    let protocol = transport::protocol(random, aim, 58);
    let source = address::v6(random, &aim.sources).octets();
    let destination = address::v6(random, &aim.destinations).octets();
    let pseudo_header = [&source[..], &destination].concat();

    let mut next = protocol;
    let mut payload = transport::segment(random, aim, protocol, &pseudo_header);
    if one_in(random, 3) || !aim.headers.is_empty() {
        // From the last header to the first, each with the type of the one behind it.
        for _ in 0..random.u32(1..5) {
            let aimed = random.choice(&aim.headers).filter(|_| !one_in(random, 4));
            let (kind, header) = match aimed {
                Some(aimed) => (aimed.kind, aimed.draw(random, next)),
                None => {
                    let kind = extension(random);
                    (kind, header(random, kind, next))
                }
            };
            payload = [header, payload].concat();
            next = kind;
        }
        // The kernel itself looks only at a hop-by-hop header that comes first, so most of those
        // that come first are well-formed.
        if one_in(random, 4) {
            payload = [options_header(next, 0), payload].concat();
            next = HOP_BY_HOP;
        }
        if one_in(random, 4) {
            payload.truncate(random.usize(..=payload.len()));
        }
    }

    let true_length = payload.len() as u16;
    let payload_length = match random.u32(..30) {
        // Shorter: what is behind it is padding. Longer: ip6_rcv drops it.
        0 => random.u16(..=true_length),
        1 => true_length + random.u16(1..40),
        _ => true_length,
    };
    let version = match one_in(random, 100) {
        true => random.u8(..16),
        false => 6,
    };
    let hop_limit = match random.u32(..20) {
        0 => 0,
        1 => 1,
        2 => random.u8(..),
        _ => 64,
    };
    let class = class(random, aim);

    let mut packet = vec![version << 4 | class >> 4, class << 4 | random.u8(..16)];
    packet.extend(id.to_be_bytes());
    packet.extend(payload_length.to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet.extend(padding(random));
    packet
}

/// The type of an extension header: those that netfilter walks over, seldom another.
fn extension(random: &mut Rng) -> u8 {
    let walked = [
        DESTINATION_OPTIONS,
        DESTINATION_OPTIONS,
        FRAGMENT,
        FRAGMENT,
        ROUTING,
        AUTHENTICATION,
        HOP_BY_HOP,
    ];
    // ESP, no next header, mobility, HIP, shim6: headers where the walk ends.
    let ending = [50, 59, 135, 139, 140];
    let kinds: &[u8] = match one_in(random, 10) {
        true => &ending,
        false => &walked,
    };
    *random.choice(kinds).unwrap_or(&DESTINATION_OPTIONS)
}

/// One header; one in eight tells a length that is not its own.
fn header(random: &mut Rng, kind: u8, next: u8) -> Vec<u8> {
    let mut header = match kind {
        FRAGMENT => {
            let field: u16 = match random.u32(..4) {
                0 => 1,                              // the first of several
                1 => 0,                              // the only one
                2 => random.u16(1..0x2000) << 3 | 1, // some later one
                _ => random.u16(..),
            };
            let reserved = if one_in(random, 4) { random.u8(..) } else { 0 };
            let mut header = vec![next, reserved];
            header.extend(field.to_be_bytes());
            header.extend(random.u32(..).to_be_bytes());
            return header;
        }
        AUTHENTICATION => {
            let words = random.u8(1..6);
            let mut header = vec![next, words];
            header.extend(bytes(random, (usize::from(words) + 2) * 4 - 2));
            header
        }
        ROUTING => {
            let units = random.u8(..4);
            let kind = random.choice([0, 2, 3, 4]).unwrap_or(0);
            let mut header = vec![next, units, kind, random.u8(..3)];
            header.extend(bytes(random, (usize::from(units) + 1) * 8 - 4));
            header
        }
        _ => options_header(next, random.u8(..4)),
    };
    if one_in(random, 8) {
        header[1] = random.u8(..);
    }
    header
}

/// A hop-by-hop or destination options header of this many 8-byte units behind the first, filled
/// with one PadN option.
fn options_header(next: u8, units: u8) -> Vec<u8> {
    let length = (usize::from(units) + 1) * 8;
    let mut header = vec![next, units, 1, (length - 4) as u8];
    header.resize(length, 0);
    header
}
