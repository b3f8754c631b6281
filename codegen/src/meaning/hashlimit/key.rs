//! Which bucket a packet belongs to: `hashlimit_init_dst`.

use ipt2bpf_parser::ruleset::Family;

use super::Table;
use crate::field::Field;
use crate::packet::{MAX_EXTENSION_HEADERS, Packet};

/// The offset of the ports in the header of a protocol, none for a protocol without (`proto_ports_offset`
/// of include/net/ip.h).
pub const PORTS: [(u8, u8); 7] = [
    (6, 0),
    (17, 0),
    (33, 0),
    (50, 0),
    (51, 4),
    (132, 0),
    (136, 0),
];

/// Numbers of protocols that `ipv6_skip_exthdr` knows.
pub mod header {
    #![allow(missing_docs)]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const NONE: u8 = 59;
    pub const DESTINATION: u8 = 60;
}

/// The mask of so many leading bits of a family's addresses; of all when there is no number.
pub fn mask(family: Family, length: Option<u8>) -> u128 {
    let (bits, all) = match family {
        Family::V4 => (32, u128::from(u32::MAX)),
        Family::V6 => (128, u128::MAX),
    };
    let length = u32::from(length.unwrap_or(bits)).min(bits.into());
    all.checked_shl(u32::from(bits) - length).unwrap_or(0) & all
}

/// Addresses and ports as they stand in the packet, zero where they do not count. None when the packet
/// lacks the ports.
pub fn of(table: &Table, packet: &Packet<'_>) -> Option<Vec<u8>> {
    let (source, destination, size) = match table.family {
        Family::V4 => (Field::Source4, Field::Destination4, 4),
        Family::V6 => (Field::Source6, Field::Destination6, 16),
    };
    let mut key = Vec::new();
    for (counts, field, mask) in [
        (table.key.source_address, source, table.source_mask),
        (
            table.key.destination_address,
            destination,
            table.destination_mask,
        ),
    ] {
        let address = if counts { packet.get(field) & mask } else { 0 };
        key.extend(&address.to_be_bytes()[16 - size..]);
    }
    let ports = match table.asks_for_ports() {
        true => ports(packet)?,
        false => [0; 4],
    };
    for (counts, port) in [
        (table.key.source_port, &ports[..2]),
        (table.key.destination_port, &ports[2..]),
    ] {
        key.extend(if counts { port } else { &[0; 2] });
    }
    Some(key)
}

fn ports(packet: &Packet<'_>) -> Option<[u8; 4]> {
    let bytes = packet.bytes();
    let (protocol, transport) = match packet.family() {
        // Also of later fragments, whose first bytes are taken for ports.
        Family::V4 => (bytes[9], 4 * usize::from(bytes[0] & 15)),
        Family::V6 => skip_extension_headers(bytes)?,
    };
    match PORTS.iter().find(|row| row.0 == protocol) {
        Some((_, offset)) => bytes
            .get(transport + usize::from(*offset)..)?
            .first_chunk()
            .copied(),
        None => Some([0; 4]),
    }
}

/// `ipv6_skip_exthdr` (net/ipv6/exthdrs_core.c): stops at a later fragment's header, and fails where there
/// is no next header.
fn skip_extension_headers(bytes: &[u8]) -> Option<(u8, usize)> {
    let mut protocol = bytes[6];
    let mut at = 40;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let units = |header: &[u8]| usize::from(header[1]);
        let (next, length) = match protocol {
            header::NONE => return None,
            header::HOP_BY_HOP | header::ROUTING | header::DESTINATION => {
                let header = bytes.get(at..at + 2)?;
                (header[0], 8 * (units(header) + 1))
            }
            header::AUTHENTICATION => {
                let header = bytes.get(at..at + 2)?;
                (header[0], 4 * (units(header) + 2))
            }
            header::FRAGMENT => {
                let header = bytes.get(at..at + 4)?;
                if u16::from_be_bytes([header[2], header[3]]) & !7 != 0 {
                    return Some((protocol, at));
                }
                (header[0], 8)
            }
            _ => return Some((protocol, at)),
        };
        protocol = next;
        at += length;
    }
    None
}
