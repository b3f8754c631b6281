//! A packet as rules see it: the reference for what programs read before their first rule.

use ipt2bpf_parser::ruleset::{Family, NfHook};

use crate::field::Field;
use crate::track::state;

/// How many IPv6 extension headers a program walks before it calls the chain broken. A chain that
/// fits an Ethernet frame of 1,500 bytes has at most 182; the kernel itself knows no limit.
pub const MAX_EXTENSION_HEADERS: usize = 256;

/// The names of a packet's interfaces, empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// The receiving interface.
    pub input: String,
    /// The sending interface.
    pub output: String,
}

/// What is known of a packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// One bit of [`track::state`](crate::track::state).
    pub state: u8,
    /// 0 for the side that opened it, 1 for the other.
    pub direction: u8,
    /// Bits of [`track::status`](crate::track::status).
    pub status: u8,
    /// Its mark.
    pub mark: u32,
    /// Whether the packet begins it, so that it is not in the table yet.
    pub is_unconfirmed: bool,
}

impl Default for Connected {
    /// Before tracking: none.
    fn default() -> Self {
        Connected {
            state: state::INVALID,
            direction: 0,
            status: 0,
            mark: 0,
            is_unconfirmed: false,
        }
    }
}

/// The facts about one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    family: Family,
    bytes: &'a [u8],
    devices: [u128; 2],
    protocol: u8,
    broken_headers: bool,
    fragment_offset: u16,
    /// Unknown behind the first fragment of an IPv6 packet; nothing asks there.
    transport: usize,
    answer: u32,
    nf_hook: NfHook,
    traced: bool,
    connection: Connected,
}

impl<'a> Packet<'a> {
    /// Reads a packet that begins with its IP header and is as long as that says. None when it is too
    /// short for the header.
    pub fn new(family: Family, bytes: &'a [u8], devices: &Devices) -> Option<Self> {
        let devices = [&devices.input, &devices.output].map(|name| device_number(name));
        match family {
            Family::V4 => {
                let header: &[u8; 20] = bytes.first_chunk()?;
                Some(Packet {
                    family,
                    bytes,
                    devices,
                    protocol: header[9],
                    broken_headers: false,
                    fragment_offset: u16::from_be_bytes([header[6], header[7]]) & 0x1fff,
                    transport: 4 * usize::from(header[0] & 15),
                    answer: 0,
                    nf_hook: NfHook::Prerouting,
                    traced: false,
                    connection: Connected::default(),
                })
            }
            Family::V6 => {
                bytes.first_chunk::<40>()?;
                let walk = walk_extension_headers(bytes);
                let end = walk.unwrap_or_default();
                Some(Packet {
                    family,
                    bytes,
                    devices,
                    protocol: end.protocol,
                    broken_headers: walk.is_none(),
                    fragment_offset: end.fragment_offset,
                    transport: end.offset,
                    answer: 0,
                    nf_hook: NfHook::Prerouting,
                    traced: false,
                    connection: Connected::default(),
                })
            }
        }
    }

    /// The same packet with another sending interface.
    pub fn leaving_by(mut self, device: &str) -> Self {
        self.devices[1] = device_number(device);
        self
    }

    /// Notes what a routine has answered.
    pub fn set_answer(&mut self, answer: u32) {
        self.answer = answer;
    }

    /// Notes what is known of its connection.
    pub fn set_connection(&mut self, connection: Connected) {
        self.connection = connection;
    }

    /// What is known of its connection.
    pub fn connection(&self) -> Connected {
        self.connection
    }

    /// Whether it is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment_offset != 0
    }

    /// Notes whose chains the packet is in.
    pub fn set_nf_hook(&mut self, hook: NfHook) {
        self.nf_hook = hook;
    }

    /// Whose chains the packet is in.
    pub fn nf_hook(&self) -> NfHook {
        self.nf_hook
    }

    /// From now on, what it meets is told.
    pub fn set_traced(&mut self) {
        self.traced = true;
    }

    /// Whether what it meets is told.
    pub fn is_traced(&self) -> bool {
        self.traced
    }

    /// All its bytes, from the IP header on.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the transport header begins, in bytes from the IP header on; 0 where that is unknown.
    pub fn transport(&self) -> usize {
        self.transport
    }

    /// The packet's family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Its length as counters count it.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether it has no byte; it always has an IP header.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it is an IPv4 fragment other than the first.
    pub fn is_later_fragment4(&self) -> bool {
        self.family == Family::V4 && self.fragment_offset != 0
    }

    /// The value of a field; zero for bytes that the packet does not have.
    pub fn get(&self, field: Field) -> u128 {
        match field {
            Field::Source4 => self.number(12, 4),
            Field::Destination4 => self.number(16, 4),
            Field::Source6 => self.number(8, 16),
            Field::Destination6 => self.number(24, 16),
            Field::InDevice => self.devices[0],
            Field::OutDevice => self.devices[1],
            Field::Protocol => self.protocol.into(),
            Field::BrokenHeaders => self.broken_headers.into(),
            Field::FragmentOffset => self.fragment_offset.into(),
            Field::TransportLength => self.bytes.len().saturating_sub(self.transport) as u128,
            Field::SourcePort => self.number(self.transport, 2),
            Field::DestinationPort => self.number(self.transport + 2, 2),
            Field::IcmpType => self.number(self.transport, 1),
            Field::IcmpCode => self.number(self.transport + 1, 1),
            Field::TcpHeaderWords => self.number(self.transport + 12, 1) >> 4,
            Field::TcpFlags => self.number(self.transport + 13, 1),
            Field::Answer => self.answer.into(),
            Field::CtState => self.connection.state.into(),
            Field::CtDirection => self.connection.direction.into(),
            Field::CtStatus => self.connection.status.into(),
            Field::CtMark => self.connection.mark.into(),
            Field::TcpOptionsWhole => {
                let header = 4 * self.get(Field::TcpHeaderWords);
                (header <= self.get(Field::TransportLength)).into()
            }
        }
    }

    /// Whether the TCP options hold this kind. The walk is `tcp_find_option`'s: the end-of-list option
    /// does not end it, a length of zero counts as one, the last byte counts as a kind.
    pub fn has_tcp_option(&self, kind: u8) -> bool {
        let start = self.transport + 20;
        let end = self.transport + 4 * self.get(Field::TcpHeaderWords) as usize;
        let Some(options) = self.bytes.get(start..end) else {
            return false;
        };
        let mut at = 0;
        while let Some(&found) = options.get(at) {
            if found == kind {
                return true;
            }
            at += match (found, options.get(at + 1)) {
                (0 | 1, _) | (_, None | Some(0)) => 1,
                (_, Some(&length)) => usize::from(length),
            };
        }
        false
    }

    fn number(&self, offset: usize, size: usize) -> u128 {
        self.bytes
            .get(offset..offset + size)
            .into_iter()
            .flatten()
            .fold(0, |number, &byte| number << 8 | u128::from(byte))
    }
}

/// An interface name as the number that tests compare.
pub fn device_number(name: &str) -> u128 {
    let mut padded = [0; 16];
    for (place, byte) in padded.iter_mut().zip(name.bytes().take(15)) {
        *place = byte;
    }
    u128::from_be_bytes(padded)
}

/// Where the extension headers end.
#[derive(Clone, Copy, Debug, Default)]
struct HeaderEnd {
    protocol: u8,
    offset: usize,
    fragment_offset: u16,
}

/// Walks as `ipv6_find_hdr` does for `-p` (net/ipv6/exthdrs_core.c as of 6.18): over hop-by-hop,
/// routing, fragment, authentication and destination options only. None where that fails, which for a
/// rule with `-p` means a hot drop.
fn walk_extension_headers(bytes: &[u8]) -> Option<HeaderEnd> {
    let mut protocol = bytes[6];
    let mut offset = 40;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(protocol) {
            return Some(HeaderEnd {
                protocol,
                offset,
                fragment_offset: 0,
            });
        }
        let header = bytes.get(offset..offset + 2)?;
        let length = match protocol {
            43 => {
                bytes.get(offset..offset + 4)?;
                8 * (usize::from(header[1]) + 1)
            }
            44 => {
                let field = bytes.get(offset + 2..offset + 4)?;
                let fragment_offset = u16::from_be_bytes([field[0], field[1]]) & !7;
                if fragment_offset != 0 {
                    return (!is_extension(header[0])).then_some(HeaderEnd {
                        protocol: header[0],
                        offset: 0,
                        fragment_offset,
                    });
                }
                8
            }
            51 => 4 * (usize::from(header[1]) + 2),
            _ => 8 * (usize::from(header[1]) + 1),
        };
        protocol = header[0];
        offset += length;
    }
    None
}

fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60)
}
