//! IPv4 packets (RFC 791).

use fastrand::Rng;

use super::{address, bytes, class, one_in, padding, transport};
use crate::checksum::checksum;
use crate::constants::Aim;

/// A packet with this identification.
pub fn packet(random: &mut Rng, aim: &Aim, id: u16) -> Vec<u8> {
    let protocol = transport::protocol(random, aim, 1);
    let source = address::v4(random, &aim.sources).octets();
    let destination = address::v4(random, &aim.destinations).octets();
    let options = match one_in(random, 5) {
        true => options(random),
        false => Vec::new(),
    };
    let pseudo_header = [&source[..], &destination].concat();
    let transport = transport::segment(random, aim, protocol, &pseudo_header);

    let header_length = 20 + options.len();
    let true_length = (header_length + transport.len()) as u16;
    let total_length = match random.u32(..30) {
        // Shorter: what is behind it is padding. Longer: ip_rcv drops it.
        0 => random.u16(20..=true_length),
        1 => true_length + random.u16(1..40),
        _ => true_length,
    };
    let fragment: u16 = match random.u32(..16) {
        0 => 0x2000,                         // first of several
        1 => 1,                              // the offset that -m tcp drops
        2 => 0x2000 | random.u16(1..0x2000), // some later one
        3 => random.u16(1..0x2000),          // the last
        4 => 0x4000,                         // do not fragment
        5 => 0x8000,                         // the reserved bit
        _ => 0,
    };
    let ttl = match random.u32(..20) {
        0 => 0,
        1 => 1,
        2 => random.u8(..),
        _ => 64,
    };
    let version = match one_in(random, 100) {
        true => random.u8(..16),
        false => 4,
    };
    let words = match one_in(random, 60) {
        true => random.u8(..16),
        false => (header_length / 4) as u8,
    };
    let tos = class(random, aim);

    let mut packet = vec![version << 4 | words, tos];
    packet.extend(total_length.to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(fragment.to_be_bytes());
    packet.extend([ttl, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(options);
    packet.extend(transport);
    // Over as many bytes as the header says it has, so that the kernel looks further.
    let summed = packet.len().min(usize::from(words) * 4);
    let checksum = match one_in(random, 100) {
        true => random.u16(..),
        false => checksum(&packet[..summed]),
    };
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(padding(random));
    packet
}

/// 4 to 40 bytes of options, most of them such that the kernel accepts them (ip_options.c).
fn options(random: &mut Rng) -> Vec<u8> {
    let length = 4 * random.usize(1..=10);
    match random.u32(..8) {
        0 => bytes(random, length),
        1 => [&[148, 4, 0, 0][..], &vec![1; length - 4]].concat(), // router alert
        2 => [&[7, 3, 4][..], &vec![0; length - 3]].concat(),      // a full record of the route
        3 => vec![0; length],
        _ => vec![1; length],
    }
}
