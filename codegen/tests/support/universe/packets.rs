//! Packets, and how they come.

use std::net::Ipv6Addr;

use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::matches::{SIZES, SPIS, TTLS};
use super::{ADDRESSES4, ADDRESSES6, INTERFACES, MACS, MARKS, PORTS, PROCESSORS, PROTOCOLS};

/// The destinations of frames: a host, all hosts, a group, and almost all hosts.
const DESTINATIONS: [[u8; 6]; 4] = [
    [2, 0, 0, 0, 0, 1],
    [0xff; 6],
    [1, 0, 0x5e, 0, 0, 5],
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
];

/// One packet and how it comes.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Its family.
    pub family: Family,
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// Index of its interface.
    pub interface: usize,
    /// Whether routing gives it to this host.
    pub local: bool,
    /// 802.1Q tags in the frame: their VLANs' numbers.
    pub tags: Vec<u16>,
    /// Bytes behind the packet in the frame.
    pub padding: usize,
    /// The destination and the source of the frame.
    pub macs: [[u8; 6]; 2],
    /// `sk_buff.mark`.
    pub mark: u32,
    /// `sk_buff.pkt_type`.
    pub packet_type: u8,
    /// The processor that takes it.
    pub processor: u32,
}

impl Packet {
    /// The packet in an Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = self.macs.concat();
        for tag in &self.tags {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(match self.family {
            Family::V4 => [0x08, 0x00],
            Family::V6 => [0x86, 0xdd],
        });
        frame.extend(&self.bytes);
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }

    /// Whether the kernel keeps it whatever its routes are.
    pub fn is_always_local(&self) -> bool {
        match self.family {
            Family::V4 => self.bytes[16] >> 4 == 0xe || self.bytes[12..20] == [0; 8],
            Family::V6 => self.bytes[24] == 0xff,
        }
    }
}

fn transport() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        select(&PORTS),
        select(&PORTS),
        0..16u8,
        any::<u8>(),
        select(&[0u8, 3, 8, 59, 128, 255]),
        select(&SPIS),
        any::<u8>(),
    );
    let option = prop_oneof![
        6 => select(&[0u8, 1, 2, 3, 4, 8, 64, 200, 255]).prop_map(|byte| vec![byte]),
        1 => select(&SIZES).prop_map(|size| [&[2, 4][..], &size.to_be_bytes()].concat()),
    ];
    let options = vec(option, 40).prop_map(|options| options.concat());
    let length = prop_oneof![3 => Just(60usize), 2 => 0usize..60];
    (header, options, length, any::<bool>()).prop_map(
        |((source, destination, words, flags, kind, spi, byte), options, length, ports)| {
            let mut bytes = vec![0; 20];
            bytes[0..2].copy_from_slice(&source.to_be_bytes());
            bytes[2..4].copy_from_slice(&destination.to_be_bytes());
            bytes[4..8].copy_from_slice(&spi.to_be_bytes());
            bytes[8] = byte;
            bytes[12] = words << 4 | byte & 15;
            bytes[13] = flags;
            bytes.extend(options);
            if !ports {
                bytes[0] = kind;
                bytes[1] = flags & 3;
                bytes[2] = byte & 3;
            }
            bytes.truncate(length);
            bytes
        },
    )
}

fn packet4() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        select(&ADDRESSES4),
        select(&ADDRESSES4),
        select(&PROTOCOLS),
        select(&[0u16, 0, 0, 0x2000, 1, 185, 0x2001]),
        5..16u8,
        any::<u8>(),
        select(&TTLS),
    );
    (header, transport()).prop_map(
        |((source, destination, protocol, fragment, words, tos, ttl), transport)| {
            let header_length = 4 * usize::from(words);
            let mut bytes = vec![1; header_length];
            bytes[0] = 0x40 | words;
            bytes[1] = tos;
            bytes[8] = ttl;
            bytes[2..4].copy_from_slice(&((header_length + transport.len()) as u16).to_be_bytes());
            bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
            bytes[9] = protocol;
            bytes[12..16].copy_from_slice(&source);
            bytes[16..20].copy_from_slice(&destination);
            bytes[10..12].fill(0);
            let sum: u32 = bytes
                .chunks(2)
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = (sum & 0xffff) + (sum >> 16);
            bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            bytes.extend(transport);
            bytes
        },
    )
}

fn packet6() -> impl Strategy<Value = Vec<u8>> {
    let extension = (
        select(&[0u8, 43, 44, 51, 60, 60]),
        select(&[0u8, 0, 0, 1, 2, 255]),
        any::<u16>(),
    );
    let header = (
        select(&ADDRESSES6),
        select(&ADDRESSES6),
        select(&PROTOCOLS),
        any::<u8>(),
        select(&TTLS),
    );
    let cut = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..40];
    (
        header,
        vec(extension, 0..4),
        transport(),
        cut,
        any::<bool>(),
    )
        .prop_map(
            |((source, destination, protocol, class, limit), extensions, transport, cut, whole)| {
                let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
                let mut bytes = vec![0; 40];
                bytes[0] = 0x60 | class >> 4;
                bytes[1] = class << 4;
                bytes[7] = limit;
                bytes[8..24].copy_from_slice(&address(source));
                bytes[24..40].copy_from_slice(&address(destination));
                let mut next = 6;
                for (kind, length, fragment) in extensions {
                    bytes[next] = kind;
                    next = bytes.len();
                    let size = match kind {
                        44 => 8,
                        51 => 4 * (usize::from(length % 3) + 2),
                        _ => 8 * (usize::from(length % 3) + 1),
                    };
                    let mut extension = vec![0; size];
                    extension[1] = if length == 255 { 255 } else { length % 3 };
                    if kind == 44 {
                        let offset = if whole { 0 } else { fragment & 0x00f9 };
                        extension[2..4].copy_from_slice(&offset.to_be_bytes());
                    }
                    bytes.extend(extension);
                }
                bytes[next] = protocol;
                bytes.extend(transport);
                bytes.truncate(40 + cut.min(bytes.len() - 40));
                let payload = (bytes.len() - 40) as u16;
                bytes[4..6].copy_from_slice(&payload.to_be_bytes());
                bytes
            },
        )
}

/// Packets of both families.
pub fn packets(count: usize) -> impl Strategy<Value = Vec<Packet>> {
    let bytes = prop_oneof![
        packet4().prop_map(|bytes| (Family::V4, bytes)),
        packet6().prop_map(|bytes| (Family::V6, bytes)),
    ];
    let packet = (
        bytes,
        0..INTERFACES.len(),
        any::<bool>(),
        vec(prop_oneof![8 => Just(0xe000u16), 1 => Just(0x2005)], 0..3),
        select(&[0usize, 0, 7]),
        (select(&DESTINATIONS), select(&MACS)),
        (select(&MARKS), select(&[0u8, 1, 2, 5]), select(&PROCESSORS)),
    );
    let packet = packet.prop_map(
        |((family, bytes), interface, local, tags, padding, (to, from), metadata)| Packet {
            family,
            bytes,
            interface,
            local,
            tags,
            padding,
            macs: [to, from],
            mark: metadata.0,
            packet_type: metadata.1,
            processor: metadata.2,
        },
    );
    vec(packet, count)
}
