//! The fields of a packet that tests look at, and where a program keeps them.
//!
//! Before the first rule a program copies what its rules ask for into a `struct packet` on its stack.
//! Rules read only that: they are the same at every hook, need no bounds checks, and the verifier
//! learns nothing from a comparison that it would have to remember at the next rule: a static function
//! sees the caller's stack, and what is stored there in less than 8 bytes off an 8-byte boundary counts
//! as unknown each time it is read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that a test can look at. All values are unsigned numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Field {
    /// IPv4 source address.
    Source4,
    /// IPv4 destination address.
    Destination4,
    /// IPv6 source address.
    Source6,
    /// IPv6 destination address.
    Destination6,
    /// Name of the receiving interface: 16 bytes, zero-padded, the first the most significant; zero
    /// where there is none.
    InDevice,
    /// Name of the sending interface, likewise.
    OutDevice,
    /// IPv4's type of service, IPv6's traffic class.
    TypeOfService,
    /// IPv4's time to live, IPv6's hop limit; one less in stages for packets to other hosts.
    TimeToLive,
    /// The packet's length from the IP header on.
    Length,
    /// The packet's mark; zero before anything has set it.
    Mark,
    /// Whom the link layer says the packet is for: `PACKET_HOST` 0, `PACKET_BROADCAST` 1,
    /// `PACKET_MULTICAST` 2, `PACKET_OTHERHOST` 3 (include/uapi/linux/if_packet.h).
    PacketType,
    /// The number of the processor that the program runs on.
    Processor,
    /// The index of the interface that packets of the hook are received or sent by.
    Interface,
    /// The group of the interface that packets of the hook are received or sent by.
    DeviceGroup,
    /// The realm of the packet's route.
    Realm,
    /// Bit [`MAC_HEADER`](link::MAC_HEADER): an Ethernet header lies in front of the packet; bit
    /// [`ETHERNET`](link::ETHERNET): its interface is an Ethernet interface.
    Link,
    /// The source address of the Ethernet header; zero where there is none.
    SourceMac,
    /// 1 when the lower half of the IPv6 source address is made of the Ethernet source address
    /// (RFC 4291, appendix A), else 0.
    SourceIsEui64,
    /// IPv4: byte 9. IPv6: the protocol behind the extension headers.
    Protocol,
    /// 1 when the IPv6 extension headers cannot be walked to their end, else 0.
    BrokenHeaders,
    /// IPv4: in units of 8 bytes. IPv6: in bytes. Only 0, 1 and the rest differ in meaning.
    FragmentOffset,
    /// How many bytes the packet has from its transport header on. Where a fragment has none, fields of
    /// the transport header are what lies in its place: in later IPv4 fragments what is behind the IP
    /// header, in later IPv6 fragments the IP header itself.
    TransportLength,
    /// Bytes 0 and 1 of the transport header.
    SourcePort,
    /// Bytes 2 and 3 of the transport header.
    DestinationPort,
    /// Byte 0 of the transport header.
    IcmpType,
    /// Byte 1 of the transport header.
    IcmpCode,
    /// Bytes 0 to 3 of the transport header.
    EspSpi,
    /// Bytes 4 to 7 of the transport header.
    AhSpi,
    /// Byte 0 of the transport header: the protocol behind a mobility header.
    MhPayload,
    /// Byte 2 of the transport header.
    MhType,
    /// Byte 8 of the transport header: bits 1 to 4 are the type.
    DccpType,
    /// Byte 12 of the transport header: the high nibble is its length in words.
    TcpDataOffset,
    /// Byte 13 of the transport header.
    TcpFlags,
    /// 1 when the packet holds all the TCP options that its header announces, else 0.
    TcpOptionsWhole,
    /// The value of the first whole maximum segment size option, [`NO_SEGMENT_SIZE`] without one.
    MaximumSegment,
    /// What the routine asked last has answered.
    Answer,
    /// The state of the packet's connection: one bit of [`track::state`](crate::track::state).
    CtState,
    /// 0 for a packet of the side that opened the connection, 1 for one of the other.
    CtDirection,
    /// What is known of the connection: [`track::status`](crate::track::status).
    CtStatus,
    /// The connection's mark.
    CtMark,
}

/// More than any [`Field::MaximumSegment`] there is.
pub const NO_SEGMENT_SIZE: u32 = 1 << 16;

/// The bits of [`Field::Link`].
pub mod link {
    /// A header of 14 bytes lies in front of the packet.
    pub const MAC_HEADER: u8 = 1;
    /// The interface's type is `ARPHRD_ETHER`.
    pub const ETHERNET: u8 = 2;
}

/// How a field lies in `struct packet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the struct.
    pub offset: i16,
    /// Bytes: 1, 2, 4, 6 or 16.
    pub size: u8,
    /// Whether the bytes are as in the packet, the first the most significant; else, and never for more
    /// than 4 bytes, they are in host byte order.
    pub network: bool,
}

/// The parts of `struct packet` that are not fields of a test, in bytes from its start.
///
/// What rules compare with does not begin on an 8-byte boundary, unless a helper writes it.
pub mod layout {
    use ipt2bpf_parser::ruleset::NfHook;

    /// The first bytes of the transport header.
    pub const HEADER: i16 = 64;
    /// How many of them.
    pub const HEADER_SIZE: i16 = 16;
    /// The TCP options seen: 256 bits, bit n of the little-endian number for option kind n.
    pub const TCP_OPTIONS: i16 = 80;
    /// Number of places on the return stack: `u32`.
    pub const DEPTH: i16 = 112;
    /// The packet's length from the IP header on, as counters count it: `u32`.
    pub const LENGTH: i16 = 116;
    /// Where the rules go on next: `u32`, see [`plan`](crate::plan).
    pub const ENTRY: i16 = 124;
    /// Not 0 when more fragments follow the packet: it is the first of several. `u8`
    pub const MORE_FRAGMENTS: i16 = 136;
    /// How the sender of a rejected packet is told, as [`Answer::number`] has it, or 0: `u8`.
    ///
    /// [`Answer::number`]: crate::meaning::reject::Answer::number
    pub const REJECTED: i16 = 144;
    /// The netfilter hook whose chains the packet is in, as [`nf_hook_number`] has it: `u8`.
    pub const NF_HOOK: i16 = 168;
    /// Where the IP header lies in the frame at XDP, in bytes: `u8`.
    pub const IP_HEADER: i16 = 169;
    /// Where the transport header lies from the IP header on, in bytes; 0 where that is unknown: `u16`.
    pub const TRANSPORT: i16 = 170;
    /// 1 when the packet begins a connection that is not in the table yet: `u8`.
    pub const UNCONFIRMED: i16 = 176;
    /// Whether a TRACE rule has matched: `u8`.
    pub const TRACED: i16 = 185;
    /// The interface that routing has chosen for a packet to another host, 0 before that: `u32`.
    pub const OUT_INDEX: i16 = 188;
    /// The return stack: `u16` each.
    pub const STACK: i16 = 192;

    /// The number of a netfilter hook (`enum nf_inet_hooks`, include/uapi/linux/netfilter.h).
    pub const fn nf_hook_number(hook: NfHook) -> u8 {
        match hook {
            NfHook::Prerouting => 0,
            NfHook::Input => 1,
            NfHook::Forward => 2,
            NfHook::Output => 3,
            NfHook::Postrouting => 4,
        }
    }

    /// The size of the struct with a return stack for so many calls: a multiple of 8.
    pub const fn size(depth: usize) -> u32 {
        (STACK as u32 + 2 * depth as u32).next_multiple_of(8)
    }
}

impl Field {
    /// What XDP does not know of a frame with a VLAN's number, which netfilter sees on the VLAN's interface.
    pub const OF_RECEIVING_INTERFACE: [Field; 3] =
        [Field::InDevice, Field::Interface, Field::DeviceGroup];

    /// What is found in the options of TCP.
    pub const OF_TCP_OPTIONS: [Field; 2] = [Field::TcpOptionsWhole, Field::MaximumSegment];

    /// The greatest value.
    pub const fn max(self) -> u128 {
        match self.place().size {
            16 => u128::MAX,
            size => (1 << (8 * size as u32)) - 1,
        }
    }

    /// Whether the field tells of the packet's connection.
    pub const fn is_connection(self) -> bool {
        matches!(
            self,
            Field::CtState | Field::CtDirection | Field::CtStatus | Field::CtMark
        )
    }

    /// Whether the field is some of the first bytes of the transport header.
    pub const fn is_header(self) -> bool {
        let offset = self.place().offset;
        layout::HEADER <= offset && offset < layout::HEADER + layout::HEADER_SIZE
    }

    /// Whether the field is made of bytes of the transport header.
    pub const fn is_transport(self) -> bool {
        self.is_header() || matches!(self, Field::TcpOptionsWhole | Field::MaximumSegment)
    }

    /// Where a program keeps the field.
    pub const fn place(self) -> Place {
        let (offset, size, network) = match self {
            Field::Source4 => (4, 4, true),
            Field::Source6 => (0, 16, true),
            Field::Destination4 => (20, 4, true),
            Field::Destination6 => (16, 16, true),
            Field::InDevice => (32, 16, true),
            Field::OutDevice => (48, 16, true),
            Field::SourcePort => (layout::HEADER, 2, true),
            Field::DestinationPort => (layout::HEADER + 2, 2, true),
            Field::IcmpType | Field::MhPayload => (layout::HEADER, 1, true),
            Field::IcmpCode => (layout::HEADER + 1, 1, true),
            Field::EspSpi => (layout::HEADER, 4, true),
            Field::AhSpi => (layout::HEADER + 4, 4, true),
            Field::MhType => (layout::HEADER + 2, 1, true),
            Field::DccpType => (layout::HEADER + 8, 1, true),
            Field::TcpDataOffset => (layout::HEADER + 12, 1, true),
            Field::TcpFlags => (layout::HEADER + 13, 1, true),
            Field::Length => (layout::LENGTH, 4, false),
            Field::DeviceGroup => (120, 4, false),
            Field::Interface => (188, 4, false),
            Field::Realm => (128, 4, false),
            Field::Mark => (132, 4, false),
            Field::SourceIsEui64 => (137, 1, false),
            Field::FragmentOffset => (138, 2, false),
            Field::TransportLength => (140, 4, false),
            Field::Protocol => (145, 1, false),
            Field::BrokenHeaders => (146, 1, false),
            Field::TcpOptionsWhole => (147, 1, false),
            Field::MaximumSegment => (148, 4, false),
            Field::TypeOfService => (153, 1, false),
            Field::TimeToLive => (154, 1, false),
            Field::PacketType => (155, 1, false),
            Field::Processor => (156, 4, false),
            Field::Link => (161, 1, false),
            Field::SourceMac => (162, 6, true),
            Field::Answer => (172, 4, false),
            Field::CtState => (177, 1, false),
            Field::CtDirection => (178, 1, false),
            Field::CtStatus => (179, 1, false),
            Field::CtMark => (180, 4, false),
        };
        Place {
            offset,
            size,
            network,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Source4 | Field::Source6 => "source",
            Field::Destination4 | Field::Destination6 => "destination",
            Field::InDevice => "in device",
            Field::OutDevice => "out device",
            Field::TypeOfService => "type of service",
            Field::TimeToLive => "time to live",
            Field::Length => "length",
            Field::Mark => "mark",
            Field::PacketType => "packet type",
            Field::Processor => "processor",
            Field::Interface => "interface",
            Field::DeviceGroup => "device group",
            Field::Realm => "realm",
            Field::Link => "link",
            Field::SourceMac => "source mac",
            Field::SourceIsEui64 => "source is eui64",
            Field::Protocol => "protocol",
            Field::BrokenHeaders => "broken headers",
            Field::FragmentOffset => "fragment offset",
            Field::TransportLength => "transport length",
            Field::SourcePort => "source port",
            Field::DestinationPort => "destination port",
            Field::IcmpType => "icmp type",
            Field::IcmpCode => "icmp code",
            Field::EspSpi => "esp spi",
            Field::AhSpi => "ah spi",
            Field::MhPayload => "mh payload",
            Field::MhType => "mh type",
            Field::DccpType => "dccp type",
            Field::TcpDataOffset => "tcp data offset",
            Field::TcpFlags => "tcp flags",
            Field::TcpOptionsWhole => "tcp options whole",
            Field::MaximumSegment => "maximum segment",
            Field::Answer => "answer",
            Field::CtState => "connection state",
            Field::CtDirection => "connection direction",
            Field::CtStatus => "connection status",
            Field::CtMark => "connection mark",
        })
    }
}
