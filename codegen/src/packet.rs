//! A packet as rules see it: the reference for what programs read before their first rule.

use std::borrow::Cow;

use ipt2bpf_parser::ruleset::{Family, NfHook};

use crate::field::{Field, NO_SEGMENT_SIZE, link};
use crate::meaning::reject::Answer;
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

/// What the kernel knows of a packet besides its bytes and interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `sk_buff.mark`; at XDP nothing has set it yet.
    pub mark: u32,
    /// `sk_buff.pkt_type`, see [`Field::PacketType`]; 5, `PACKET_LOOPBACK`, for the copy of a multicast
    /// packet that this host sent.
    pub packet_type: u8,
    /// The processor.
    pub processor: u32,
    /// The interface's index.
    pub interface: u32,
    /// The socket that sends the packet.
    pub socket: Option<SendingSocket>,
    /// `net_device.group` of the interface.
    pub device_group: u32,
    /// `dst_entry.tclassid` of the route.
    pub realm: u32,
    /// The source address of the Ethernet header in front of the packet, if there is such a header.
    pub source_mac: Option<[u8; 6]>,
    /// Whether the interface is an Ethernet interface.
    pub ethernet: bool,
}

/// A full socket as the kernel has it when one of its packets is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendingSocket {
    /// Whether it has a `struct socket` still, which a process takes away when it closes it.
    pub is_open: bool,
    /// Who opened the file that it is; none for a socket of the kernel's own.
    pub opener: Option<Opener>,
    /// `sock_cgroup_data.classid`
    pub class: u32,
    /// The ids of the control groups (version 2) that it is in, from the root on.
    pub groups: Vec<u64>,
    /// Whether it waits for connections (`TCP_LISTEN`).
    pub listens: bool,
}

/// The credentials of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opener {
    /// `cred.fsuid`
    pub user: u32,
    /// `cred.fsgid`
    pub group: u32,
    /// `cred.group_info`, in rising order.
    pub groups: Vec<u32>,
}

/// The type of a looped-back packet, which matches never see.
pub const PACKET_LOOPBACK: u8 = 5;

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
    bytes: Cow<'a, [u8]>,
    devices: [u128; 2],
    metadata: Metadata,
    forwarded: bool,
    type_of_service: u8,
    hops: u8,
    protocol: u8,
    broken_headers: bool,
    fragment_offset: u16,
    more_fragments: bool,
    /// Where rules read the transport header: 0 in later fragments of an IPv6 packet.
    transport: usize,
    answer: u32,
    nf_hook: NfHook,
    rejected: Option<Answer>,
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
                    bytes: bytes.into(),
                    devices,
                    metadata: Metadata::default(),
                    forwarded: false,
                    type_of_service: header[1],
                    hops: header[8],
                    protocol: header[9],
                    broken_headers: false,
                    fragment_offset: u16::from_be_bytes([header[6], header[7]]) & 0x1fff,
                    more_fragments: header[6] & 0x20 != 0,
                    transport: 4 * usize::from(header[0] & 15),
                    answer: 0,
                    nf_hook: NfHook::Prerouting,
                    rejected: None,
                    traced: false,
                    connection: Connected::default(),
                })
            }
            Family::V6 => {
                let header = bytes.first_chunk::<40>()?;
                let walk = walk_extension_headers(bytes);
                let end = walk.unwrap_or_default();
                Some(Packet {
                    family,
                    bytes: bytes.into(),
                    devices,
                    metadata: Metadata::default(),
                    forwarded: false,
                    type_of_service: header[0] << 4 | header[1] >> 4,
                    hops: header[7],
                    protocol: end.protocol,
                    broken_headers: walk.is_none(),
                    fragment_offset: end.fragment_offset,
                    more_fragments: end.more_fragments,
                    transport: end.offset,
                    answer: 0,
                    nf_hook: NfHook::Prerouting,
                    rejected: None,
                    traced: false,
                    connection: Connected::default(),
                })
            }
        }
    }

    /// The same packet with what else the kernel knows of it; without, all of that is zero.
    pub fn with(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sends it on its way to another host by this interface: the kernel has counted the hop before
    /// FORWARD's rules (`ip_forward`, net/ipv4/ip_forward.c; `ip6_forward`, net/ipv6/ip6_output.c). Packets
    /// that [have no hop left](Self::has_no_hop_left) do not come so far.
    pub fn leave_by(&mut self, device: &str) {
        self.devices[1] = device_number(device);
        if !self.forwarded {
            self.hops = self.hops.wrapping_sub(1);
            self.forwarded = true;
            self.count_hop();
        }
    }

    /// Whether it cannot be forwarded, because this would be one hop too many.
    pub fn has_no_hop_left(&self) -> bool {
        !self.forwarded && self.hops <= 1
    }

    /// `ip_decrease_ttl` (include/net/ip.h), and the same for IPv6.
    fn count_hop(&mut self) {
        let bytes = self.bytes.to_mut();
        match self.family {
            Family::V4 => {
                bytes[8] = bytes[8].wrapping_sub(1);
                let sum = u16::from_be_bytes([bytes[10], bytes[11]]);
                let (sum, carry) = sum.overflowing_add(0x0100);
                let sum = sum.wrapping_add(carry.into());
                // Both are zero to the checksum's arithmetic.
                let sum = if sum == u16::MAX { 0 } else { sum };
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            Family::V6 => bytes[7] = bytes[7].wrapping_sub(1),
        }
    }

    /// The socket that sends it.
    pub fn socket(&self) -> Option<&SendingSocket> {
        self.metadata.socket.as_ref()
    }

    /// Notes what a routine has answered.
    pub fn set_answer(&mut self, answer: u32) {
        self.answer = answer;
    }

    /// The mark, as rules see it now.
    pub fn mark(&self) -> u32 {
        self.metadata.mark
    }

    /// Changes the mark.
    pub fn set_mark(&mut self, mark: u32) {
        self.metadata.mark = mark;
    }

    /// Changes for whom the packet is, as rules see it.
    pub fn set_packet_type(&mut self, packet_type: u8) {
        self.metadata.packet_type = packet_type;
    }

    /// The type of service or traffic class, as rules see it now.
    pub fn type_of_service(&self) -> u8 {
        self.type_of_service
    }

    /// Changes the type of service or traffic class, not the bytes.
    pub fn set_type_of_service(&mut self, type_of_service: u8) {
        self.type_of_service = type_of_service;
    }

    /// The time to live or hop limit, as rules see it now.
    pub fn time_to_live(&self) -> u8 {
        self.hops
    }

    /// Changes the time to live or hop limit, not the bytes.
    pub fn set_time_to_live(&mut self, hops: u8) {
        self.hops = hops;
    }

    /// Notes what is known of its connection.
    pub fn set_connection(&mut self, connection: Connected) {
        self.connection = connection;
    }

    /// What is known of its connection.
    pub fn connection(&self) -> Connected {
        self.connection
    }

    /// Whether more fragments follow it.
    pub fn has_more_fragments(&self) -> bool {
        self.more_fragments
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

    /// Notes how its sender is to be told that it was rejected.
    pub fn reject(&mut self, answer: Answer) {
        self.rejected = Some(answer);
    }

    /// How its sender is to be told that it was rejected, if it was.
    pub fn rejected(&self) -> Option<Answer> {
        self.rejected
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
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same to be changed. Fields of the transport header follow; those of the IP header and where the
    /// transport header lies do not.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        self.bytes.to_mut()
    }

    /// The same packet with bytes of its own.
    pub fn into_owned(self) -> Packet<'static> {
        Packet {
            bytes: Cow::Owned(self.bytes.into_owned()),
            ..self
        }
    }

    /// Its bytes as a program at XDP leaves them: to be forwarded, the packet has the hop that the kernel
    /// will count. Of the most hops that there are, which a rule may have set, none is left to give back.
    pub fn left(&self) -> Cow<'_, [u8]> {
        let mut bytes = self.bytes.clone();
        let at = match self.family {
            Family::V4 => 8,
            Family::V6 => 7,
        };
        if !self.forwarded || bytes[at] == u8::MAX {
            return bytes;
        }
        let bytes_left = bytes.to_mut();
        bytes_left[at] += 1;
        if self.family == Family::V4 {
            let sum = u16::from_le_bytes([bytes_left[10], bytes_left[11]]);
            // All ones and zero are the same sum; the kernel makes zero of what is one less.
            let sum = sum.checked_sub(1).unwrap_or(0xfffe);
            bytes_left[10..12].copy_from_slice(&sum.to_le_bytes());
        }
        bytes
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
            Field::TypeOfService => self.type_of_service.into(),
            Field::TimeToLive => self.hops.into(),
            Field::Length => self.bytes.len() as u128,
            Field::Mark => self.metadata.mark.into(),
            Field::PacketType => self.packet_type().into(),
            Field::Processor => self.metadata.processor.into(),
            Field::Interface => self.metadata.interface.into(),
            Field::DeviceGroup => self.metadata.device_group.into(),
            Field::Realm => self.metadata.realm.into(),
            Field::Link => {
                let header = self.metadata.source_mac.map_or(0, |_| link::MAC_HEADER);
                let ethernet = match self.metadata.ethernet {
                    true => link::ETHERNET,
                    false => 0,
                };
                u128::from(header | ethernet)
            }
            Field::SourceMac => self.metadata.source_mac.map_or(0, |mac| big_endian(&mac)),
            Field::SourceIsEui64 => self.source_is_eui64().into(),
            Field::Protocol => self.protocol.into(),
            Field::BrokenHeaders => self.broken_headers.into(),
            Field::FragmentOffset => self.fragment_offset.into(),
            Field::TransportLength => self.bytes.len().saturating_sub(self.transport) as u128,
            Field::SourcePort => self.number(self.transport, 2),
            Field::DestinationPort => self.number(self.transport + 2, 2),
            Field::IcmpType => self.number(self.transport, 1),
            Field::IcmpCode => self.number(self.transport + 1, 1),
            Field::EspSpi => self.number(self.transport, 4),
            Field::AhSpi => self.number(self.transport + 4, 4),
            Field::MhPayload => self.number(self.transport, 1),
            Field::MhType => self.number(self.transport + 2, 1),
            Field::DccpType => self.number(self.transport + 8, 1),
            Field::TcpDataOffset => self.number(self.transport + 12, 1),
            Field::TcpFlags => self.number(self.transport + 13, 1),
            Field::Answer => self.answer.into(),
            Field::CtState => self.connection.state.into(),
            Field::CtDirection => self.connection.direction.into(),
            Field::CtStatus => self.connection.status.into(),
            Field::CtMark => self.connection.mark.into(),
            Field::TcpOptionsWhole => {
                let header = self.tcp_header_length() as u128;
                (header <= self.get(Field::TransportLength)).into()
            }
            Field::MaximumSegment => self.maximum_segment().into(),
        }
    }

    /// `pkttype_mt` (net/netfilter/xt_pkttype.c): a looped-back packet is multicast or broadcast.
    fn packet_type(&self) -> u8 {
        const BROADCAST: u8 = 1;
        const MULTICAST: u8 = 2;
        let multicast = self.family == Family::V6 || self.get(Field::Destination4) >> 28 == 0xe;
        match self.metadata.packet_type {
            PACKET_LOOPBACK if multicast => MULTICAST,
            PACKET_LOOPBACK => BROADCAST,
            other => other,
        }
    }

    fn source_is_eui64(&self) -> bool {
        self.metadata.source_mac.is_some_and(|[a, b, c, d, e, f]| {
            let identifier = big_endian(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
            self.family == Family::V6 && self.number(16, 8) == identifier
        })
    }

    fn tcp_header_length(&self) -> usize {
        4 * (self.get(Field::TcpDataOffset) as usize >> 4)
    }

    fn tcp_options(&self) -> &[u8] {
        let start = self.transport + 20;
        let end = self.transport + self.tcp_header_length();
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The kinds of TCP options, with what follows each. The walk is `tcp_find_option`'s: the end-of-list
    /// option does not end it, a length of zero counts as one, the last byte counts as a kind.
    fn each_tcp_option(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.tcp_options();
        std::iter::from_fn(move || {
            let (&kind, behind) = rest.split_first()?;
            let length = match (kind, behind.first()) {
                (0 | 1, _) | (_, None | Some(0)) => 1,
                (_, Some(&length)) => usize::from(length),
            };
            rest = rest.get(length..).unwrap_or_default();
            Some((kind, behind))
        })
    }

    /// Whether the TCP options hold this kind.
    pub fn has_tcp_option(&self, kind: u8) -> bool {
        self.each_tcp_option().any(|(found, _)| found == kind)
    }

    /// As `tcpmss_mt` (net/netfilter/xt_tcpmss.c) finds it: an option of another length is passed over.
    fn maximum_segment(&self) -> u32 {
        let sizes = self.each_tcp_option().filter_map(|option| match option {
            (2, &[4, high, low, ..]) => Some(u16::from_be_bytes([high, low])),
            _ => None,
        });
        sizes.map(u32::from).next().unwrap_or(NO_SEGMENT_SIZE)
    }

    fn number(&self, offset: usize, size: usize) -> u128 {
        big_endian(self.bytes.get(offset..offset + size).unwrap_or_default())
    }
}

fn big_endian(bytes: &[u8]) -> u128 {
    let bytes = bytes.iter();
    bytes.fold(0, |number, &byte| number << 8 | u128::from(byte))
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
    more_fragments: bool,
}

/// Walks as `ipv6_find_hdr` does for `-p` (net/ipv6/exthdrs_core.c as of 6.18): over hop-by-hop,
/// routing, fragment, authentication and destination options only. None where that fails, which for a
/// rule with `-p` means a hot drop.
fn walk_extension_headers(bytes: &[u8]) -> Option<HeaderEnd> {
    let mut protocol = bytes[6];
    let mut offset = 40;
    let mut more_fragments = false;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(protocol) {
            return Some(HeaderEnd {
                protocol,
                offset,
                fragment_offset: 0,
                more_fragments,
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
                        more_fragments,
                    });
                }
                more_fragments = field[1] & 1 != 0;
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
