//! The answer to the sender of a rejected packet, byte by byte: the reference for what programs send.

use ipt2bpf_parser::ruleset::{Family, NfHook};

use super::Answer;
use super::bucket;
use super::code::{
    HOPS, ICMP, ICMP6, MORE_FRAGMENTS, NO_NEXT_HEADER, TCP, UDP, UNVERIFIED, checksum_offset,
    header_bytes,
};
use super::reset::{ACK, FIN, RST, SHORTEST_FRAME, SYN, TCP_HEADER};
use super::unreachable::{
    DUMMY_SOURCE, FIRST_QUERY6, ICMP_HEADER, LAST_TYPE, QUERIES, TOS_MASK, TOS_PRECEDENCE,
    most_bytes, unreachable_type,
};
use crate::field::Field;
use crate::frame::header_length;
use crate::meaning::checksum::{fold, pseudo_header, sum};
use crate::packet::Packet;
use crate::routine::World;

/// How a packet came and where its answer would begin.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The frame that held it.
    pub frame: &'a [u8],
    /// The hook whose chains rejected it.
    pub hook: NfHook,
    /// For a forwarded packet, the address that routing prefers on the way to the packet's source, IPv4's
    /// in the first four bytes and zero when there is none; none when there is no way.
    pub source: Option<[u8; 16]>,
    /// Ticks of the kernel's clock in a second.
    pub tick_rate: u32,
}

/// The frame that tells the sender of a packet, as the rules have left that, if one is sent.
pub fn reply(
    answer: Answer,
    packet: &Packet<'_>,
    arrival: Arrival<'_>,
    world: &mut World,
) -> Option<Vec<u8>> {
    if !is_answerable(packet, arrival) || !checksum_holds(packet) {
        return None;
    }
    let answer = match answer {
        Answer::Reset => reset(packet)?,
        Answer::Unreachable(code) => unreachable(packet, code, arrival, world)?,
    };
    let ethernet = arrival.frame.get(..header_length(arrival.frame)?)?;
    let mut frame = [&ethernet[6..12], &ethernet[..6], &ethernet[12..], &answer].concat();
    let shortest = SHORTEST_FRAME as usize;
    match arrival.frame.len() < shortest {
        // It was shorter than Ethernet allows, and its last bytes stay.
        true => frame.extend(arrival.frame.get(frame.len()..).unwrap_or_default()),
        false => frame.resize(frame.len().max(shortest), 0),
    }
    Some(frame)
}

/// What packets of both answers must be.
fn is_answerable(packet: &Packet<'_>, arrival: Arrival<'_>) -> bool {
    let bytes = packet.bytes();
    let to_group = arrival.frame.first().is_none_or(|byte| byte & 1 != 0);
    if to_group || packet.get(Field::FragmentOffset) != 0 {
        return false;
    }
    match packet.family() {
        Family::V4 => {
            let waits = arrival.hook == NfHook::Input && bytes[6] & MORE_FRAGMENTS != 0;
            !waits && is_unicast4(&bytes[12..16]) && is_unicast4(&bytes[16..20])
        }
        Family::V6 => {
            packet.get(Field::BrokenHeaders) == 0
                && packet.get(Field::Protocol) != NO_NEXT_HEADER.into()
                && packet.get(Field::TransportLength) != 0
                && bytes[8] != 0xff
                && bytes[24] != 0xff
                && bytes[8..24] != [0; 16]
        }
    }
}

/// Neither of this network (0/8) nor loopback, multicast or limited broadcast.
fn is_unicast4(address: &[u8]) -> bool {
    !matches!(address[0], 0 | 127 | 224..=239) && address != [255; 4]
}

/// Whether `ipv6_addr_type` does not call an address unicast though it is no multicast address:
/// unspecified, or an IPv4 address in the form of an IPv6 address (RFC 4291, 2.5.5.2).
fn is_no_host6(address: &[u8]) -> bool {
    address == [0; 16] || address.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
}

/// Whether the transport checksum is right, or the protocol asks for none.
fn checksum_holds(packet: &Packet<'_>) -> bool {
    let protocol = packet.get(Field::Protocol) as u8;
    let transport = transport(packet);
    if UNVERIFIED.contains(&protocol) || (protocol == UDP && transport.get(6..8) == Some(&[0, 0])) {
        return true;
    }
    let pseudo = match (packet.family(), protocol) {
        (Family::V4, TCP | UDP) | (Family::V6, _) => pseudo_header(packet, protocol, transport),
        (Family::V4, _) => 0,
    };
    // What is left to a device to finish is the sum of the pseudo-header alone.
    let at = checksum_offset(protocol) as usize;
    let unfinished = fold(pseudo).to_be_bytes();
    if matches!(protocol, TCP | UDP) && transport.get(at..at + 2) == Some(&unfinished) {
        return true;
    }
    // Nothing but zeros has no sum; the kernel adds the IPv4 header, whose sum is not zero.
    matches!(fold(pseudo + sum(transport)), 0 | 0xffff)
}

fn transport<'a>(packet: &'a Packet<'_>) -> &'a [u8] {
    packet.bytes().get(packet.transport()..).unwrap_or_default()
}

/// The IP packet that resets the connection.
fn reset(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let segment = transport(packet);
    let addresses = packet.bytes().get(8..40).unwrap_or_default();
    let no_host = packet.family() == Family::V6 && addresses.chunks(16).any(is_no_host6);
    if packet.get(Field::Protocol) != TCP.into() || no_host {
        return None;
    }
    let header: &[u8; TCP_HEADER as usize] = segment.first_chunk()?;
    let flags = header[13];
    if flags & RST != 0 {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    let (sequence, acknowledged, told) = match flags & ACK != 0 {
        true => (word(8), 0, RST),
        false => {
            let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            let data = (segment.len() as u32).wrapping_sub(u32::from(header[12] >> 4) * 4);
            let next = word(4).wrapping_add(marks).wrapping_add(data);
            (0, next, RST | ACK)
        }
    };
    let mut told = [
        &header[2..4],
        &header[..2],
        &sequence.to_be_bytes(),
        &acknowledged.to_be_bytes(),
        &[(TCP_HEADER as u8) << 2, told],
        &[0; 6],
    ]
    .concat();
    let checksum = !fold(pseudo_header(packet, TCP, &told) + sum(&told));
    told[16..18].copy_from_slice(&checksum.to_be_bytes());
    let source = destination(packet);
    Some(ip_packet(packet, source, TCP, [0, 0, 0, 0x40, 0], &told))
}

/// The ICMP or ICMPv6 error about a packet.
fn unreachable(
    packet: &Packet<'_>,
    code: u8,
    arrival: Arrival<'_>,
    world: &mut World,
) -> Option<Vec<u8>> {
    let family = packet.family();
    let bytes = packet.bytes();
    let protocol = match family {
        Family::V4 => ICMP,
        Family::V6 => ICMP6,
    };
    if family == Family::V4 && bytes[0] != 0x45 {
        return None;
    }
    if packet.get(Field::Protocol) == protocol.into() {
        let kind = *transport(packet).first()?;
        let query = match family {
            Family::V4 => kind <= LAST_TYPE && QUERIES >> kind & 1 != 0,
            Family::V6 => kind >= FIRST_QUERY6,
        };
        if !query {
            return None;
        }
    }
    let source = match arrival.hook {
        NfHook::Forward => match (family, arrival.source?) {
            (Family::V4, [0, 0, 0, 0, ..]) => DUMMY_SOURCE.to_vec(),
            (Family::V4, [a, b, c, d, ..]) => vec![a, b, c, d],
            (Family::V6, address) => address.to_vec(),
        },
        _ => destination(packet),
    };
    let receiver = sender(packet);
    if !bucket::take(family, &receiver, arrival.tick_rate, world) {
        return None;
    }
    let headers = header_bytes(family) + ICMP_HEADER;
    let quoted = bytes.len().min((most_bytes(family) - headers) as usize);
    let mut error = vec![unreachable_type(family), code];
    error.resize(ICMP_HEADER as usize, 0);
    error.extend(&bytes[..quoted]);
    let (service, pseudo) = match family {
        Family::V4 => {
            let service = bytes[1] & TOS_MASK | TOS_PRECEDENCE;
            let [low, high, ..] = world.random().to_le_bytes();
            ([service, low, high, 0, 0], 0)
        }
        Family::V6 => {
            let addresses = sum(&source) + sum(&receiver);
            let pseudo = addresses + u64::from(ICMP6) + error.len() as u64;
            ([0; 5], pseudo)
        }
    };
    let checksum = !fold(pseudo + sum(&error));
    error[2..4].copy_from_slice(&checksum.to_be_bytes());
    Some(ip_packet(packet, source, protocol, service, &error))
}

/// The address that a packet comes from.
fn sender(packet: &Packet<'_>) -> Vec<u8> {
    match packet.family() {
        Family::V4 => packet.bytes()[12..16].to_vec(),
        Family::V6 => packet.bytes()[8..24].to_vec(),
    }
}

/// The address that a packet goes to.
fn destination(packet: &Packet<'_>) -> Vec<u8> {
    match packet.family() {
        Family::V4 => packet.bytes()[16..20].to_vec(),
        Family::V6 => packet.bytes()[24..40].to_vec(),
    }
}

/// The packet to a packet's sender. `details` are IPv4's type of service, identification and fragment
/// field.
fn ip_packet(
    packet: &Packet<'_>,
    source: Vec<u8>,
    protocol: u8,
    details: [u8; 5],
    datagram: &[u8],
) -> Vec<u8> {
    let length = datagram.len() as u16;
    let addresses = [source, sender(packet)].concat();
    let header = match packet.family() {
        Family::V4 => {
            let [service, fragment @ ..] = details;
            let total = length + header_bytes(Family::V4) as u16;
            let mut header = vec![0x45, service];
            header.extend(total.to_be_bytes());
            header.extend(fragment);
            header.extend([HOPS, protocol, 0, 0]);
            header.extend(addresses);
            let checksum = !fold(sum(&header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            header
        }
        Family::V6 => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([protocol, HOPS]);
            header.extend(addresses);
            header
        }
    };
    [&header, datagram].concat()
}
