//! A packet in words, for messages.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::ruleset::Family;

use crate::frame::{Direction, Frame};

/// Describes a frame's packet as far as it can be read, then gives its bytes in hexadecimal.
pub fn describe(frame: &Frame) -> String {
    let packet = frame.packet();
    let mut words = match frame.family {
        Family::V4 => ipv4(packet),
        Family::V6 => ipv6(packet),
    }
    .unwrap_or_else(|| {
        let length = packet.len();
        format!("{length} bytes, too short for a header")
    });
    if let Some(id) = frame.id() {
        write!(words, ", id {id}").ok();
    }
    if frame.tags() > 0 {
        write!(words, ", {} VLAN tags", frame.tags()).ok();
    }
    let padding = frame.untrimmed().len() - packet.len();
    if padding > 0 {
        write!(words, ", {padding} bytes of padding").ok();
    }
    let hex: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
    let way = match frame.direction {
        Direction::Received => "in on",
        Direction::Sent => "out on",
    };
    format!("{words}, {way} {}\n  {hex}", frame.interface)
}

fn ipv4(packet: &[u8]) -> Option<String> {
    let source = Ipv4Addr::from(bytes::<4>(packet, 12)?);
    let destination = Ipv4Addr::from(bytes::<4>(packet, 16)?);
    let header = usize::from(packet[0] & 15) * 4;
    let fragment = be16(packet, 6)?;
    let offset = fragment & 0x1fff;
    let protocol = packet[9];
    let transport = packet.get(header..).unwrap_or_default();
    let mut words = endpoints(
        "IPv4",
        protocol,
        &source.to_string(),
        &destination.to_string(),
        transport,
        offset != 0,
    );
    if header != 20 {
        write!(words, ", header of {header} bytes").ok();
    }
    if fragment & 0x2000 != 0 {
        words += ", more fragments";
    }
    if offset != 0 {
        write!(words, ", fragment offset {offset}").ok();
    }
    if packet[8] < 2 {
        write!(words, ", ttl {}", packet[8]).ok();
    }
    let told = usize::from(be16(packet, 2)?);
    if told != packet.len() {
        let present = packet.len();
        write!(words, ", total length {told} but {present} bytes present").ok();
    }
    Some(words)
}

fn ipv6(packet: &[u8]) -> Option<String> {
    let source = Ipv6Addr::from(bytes::<16>(packet, 8)?);
    let destination = Ipv6Addr::from(bytes::<16>(packet, 24)?);
    let (mut next, mut offset) = (packet[6], 40);
    let mut chain = String::new();
    let mut fragment = 0;
    // The headers that netfilter walks (ipv6_ext_hdr), up to the first that is cut off.
    while let (0 | 43 | 44 | 51 | 60, Some(header)) = (next, bytes::<4>(packet, offset)) {
        let length = match next {
            44 => 8,
            51 => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        write!(chain, ", {} of {length} bytes", extension(next)).ok();
        if next == 44 {
            fragment = u16::from_be_bytes([header[2], header[3]]) & !7;
            write!(chain, " at offset {fragment}").ok();
        }
        (next, offset) = (header[0], offset + length);
        if fragment != 0 {
            break;
        }
    }
    let transport = packet.get(offset..).unwrap_or_default();
    let mut words = endpoints(
        "IPv6",
        next,
        &format!("[{source}]"),
        &format!("[{destination}]"),
        transport,
        fragment != 0,
    );
    words += &chain;
    if offset > packet.len() {
        words += ", the last header ends behind the packet";
    }
    if packet[7] < 2 {
        write!(words, ", hop limit {}", packet[7]).ok();
    }
    let told = 40 + usize::from(be16(packet, 4)?);
    if told != packet.len() {
        let present = packet.len();
        write!(words, ", length {told} but {present} bytes present").ok();
    }
    Some(words)
}

/// `FAMILY PROTOCOL A:P > B:Q` with what the transport header tells.
fn endpoints(
    family: &str,
    protocol: u8,
    source: &str,
    destination: &str,
    transport: &[u8],
    later_fragment: bool,
) -> String {
    let name = protocol_name(protocol);
    if later_fragment {
        return format!("{family} {name} {source} > {destination}");
    }
    let ports = matches!(protocol, 6 | 17 | 33 | 132 | 136)
        .then(|| Some((be16(transport, 0)?, be16(transport, 2)?)))
        .flatten();
    let mut words = match ports {
        Some((from, to)) => format!("{family} {name} {source}:{from} > {destination}:{to}"),
        None => format!("{family} {name} {source} > {destination}"),
    };
    match (protocol, transport) {
        (6, [_, _, _, _, _, _, _, _, _, _, _, _, offset, flags, ..]) => {
            let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
            let set: Vec<&str> = (0..8)
                .filter(|bit| flags & (1 << bit) != 0)
                .map(|bit| names[bit])
                .collect();
            write!(words, " flags {}", set.join(",")).ok();
            if offset >> 4 != 5 {
                write!(words, ", data offset {}", offset >> 4).ok();
            }
        }
        (1 | 58, [kind, code, ..]) => {
            write!(words, " type {kind} code {code}").ok();
        }
        _ => {}
    }
    let header = match protocol {
        6 => 20,
        1 | 17 | 58 => 8,
        33 | 132 => 12,
        _ => 0,
    };
    if transport.len() < header {
        let present = transport.len();
        write!(words, ", {present} of {header} header bytes present").ok();
    }
    words
}

fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        59 => "no next header",
        132 => "sctp",
        135 => "mobility",
        136 => "udplite",
        _ => return format!("protocol {protocol}"),
    };
    name.to_owned()
}

fn extension(header: u8) -> &'static str {
    match header {
        0 => "hop-by-hop",
        43 => "routing",
        44 => "fragment",
        51 => "ah",
        _ => "destination options",
    }
}

fn bytes<const N: usize>(packet: &[u8], offset: usize) -> Option<[u8; N]> {
    packet.get(offset..)?.first_chunk().copied()
}

fn be16(packet: &[u8], offset: usize) -> Option<u16> {
    bytes(packet, offset).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_segment_is_told() {
        let mut packet = vec![
            0x45, 0, 0, 34, 0, 77, 0x20, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1,
        ];
        packet.extend([0, 4, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 9]);
        let words = describe(&Frame::received(Family::V4, "eth0", &packet));
        assert_eq!(
            words.lines().next(),
            Some(
                "IPv4 tcp 10.0.0.1:4 > 192.0.2.1:22 flags SYN,ACK, 14 of 20 header bytes present, \
                 more fragments, id 77, 1 bytes of padding, in on eth0"
            )
        );
    }

    #[test]
    fn extension_headers_are_told() {
        let mut packet = vec![0x60, 0, 0, 9, 0, 16, 60, 64];
        packet.extend([0; 32]);
        packet.extend([44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0x10, 0, 0, 0, 1]);
        let words = describe(&Frame::received(Family::V6, "eth0", &packet));
        assert!(
            words.starts_with(
                "IPv6 udp [::] > [::], destination options of 8 bytes, fragment of 8 bytes at \
                 offset 16, id 9, in on eth0\n"
            ),
            "{words}"
        );
    }

    #[test]
    fn any_bytes_can_be_told() {
        for length in 0..60 {
            for fill in [0, 0x45, 0x2c, 0xff] {
                for family in [Family::V4, Family::V6] {
                    let packet = vec![fill; length];
                    let received = Frame::received(family, "eth0", &packet);
                    assert!(describe(&received).contains("in on eth0"));
                    let sent = Frame::sent(family, "eth0", &packet);
                    assert!(describe(&sent).contains("out on eth0"));
                }
            }
        }
    }
}
