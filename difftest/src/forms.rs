//! Packets by hand, of every form that headers can have: whole and cut short, in fragments, with IPv4 options
//! or IPv6 extension headers, from an address of zeros.

use ipt2bpf_parser::ruleset::Family;

use crate::checksum::checksum;
use crate::frame::Frame;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ESP: u8 = 50;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// A packet of each form from a host to the same other; the payload begins with two ports and has 24 bytes at
/// least.
pub fn of(family: Family, host: u8, payload: &[u8]) -> Vec<Frame> {
    let first = payload.get(..24).unwrap_or(payload);
    let udp = packet(family, host, 60, UDP, payload);
    let mut frames = vec![
        with_source_of_zeros(family, &udp),
        udp,
        packet(family, host, 60, TCP, payload),
        packet(family, host, 60, UDP, first.get(..7).unwrap_or(first)),
        packet(family, host, 60, ESP, payload),
    ];
    frames.extend(match family {
        Family::V4 => [
            v4(host, 60, UDP, 0x2000, first),
            v4(host, 60, UDP, 3, payload),
            with_options(host, UDP, payload),
        ],
        Family::V6 => {
            let behind = |header: [u8; 8], rest: &[u8]| [&header, rest].concat();
            let fragment = |offset: u8| [UDP, 0, 0, offset, 0, 0, 0, host];
            let options = [UDP, 0, 1, 4, 0, 0, 0, 0];
            [
                v6(host, 60, FRAGMENT, &behind(fragment(1), first)),
                v6(host, 60, FRAGMENT, &behind(fragment(24), payload)),
                v6(host, 60, DESTINATION_OPTIONS, &behind(options, payload)),
            ]
        }
    });
    frames
}

/// An IPv4 packet from 10.0.0.`host` to 192.0.2.1.
pub fn v4(host: u8, ttl: u8, protocol: u8, fragment: u16, payload: &[u8]) -> Frame {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, host]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([ttl, protocol, 0, 0, 10, 0, 0, host, 192, 0, 2, 1]);
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    Frame::received(Family::V4, "eth0", &packet)
}

/// An IPv6 packet from 2001:db8::`host` to 2001:db8:1::1.
pub fn v6(host: u8, hop_limit: u8, next: u8, payload: &[u8]) -> Frame {
    let mut packet = vec![0x60, 0, 0, host];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(payload);
    Frame::received(Family::V6, "eth0", &packet)
}

/// So many bytes that begin with two ports.
pub fn ports(source: u16, destination: u16, length: usize) -> Vec<u8> {
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    bytes.resize(length, 0);
    bytes
}

/// The packet of a family.
pub fn packet(family: Family, host: u8, ttl: u8, protocol: u8, payload: &[u8]) -> Frame {
    match family {
        Family::V4 => v4(host, ttl, protocol, 0, payload),
        Family::V6 => v6(host, ttl, protocol, payload),
    }
}

/// An IPv4 packet with four bytes of options that do nothing.
pub fn with_options(host: u8, protocol: u8, payload: &[u8]) -> Frame {
    let mut packet = vec![0x46, 0];
    packet.extend((24 + payload.len() as u16).to_be_bytes());
    packet.extend([
        0, host, 0, 0, 60, protocol, 0, 0, 10, 0, 0, host, 192, 0, 2, 1,
    ]);
    packet.extend([1; 4]);
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    Frame::received(Family::V4, "eth0", &packet)
}

/// The same packet from 0.0.0.0 or `::`.
fn with_source_of_zeros(family: Family, frame: &Frame) -> Frame {
    let mut packet = frame.packet().to_vec();
    match family {
        Family::V4 => {
            packet[12..16].fill(0);
            packet[10..12].fill(0);
            let sum = checksum(&packet[..20]).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
        }
        Family::V6 => packet[8..24].fill(0),
    }
    Frame::received(family, "eth0", &packet)
}
