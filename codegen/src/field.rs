//! The fields of a packet that tests look at, and where a program keeps them.
//!
//! Before the first rule a program copies what its rules ask for into a `struct packet` on its stack.
//! Rules read only that: they are the same at every hook, need no bounds checks, and the verifier
//! learns nothing from a comparison that it would have to remember at the next rule: a static function
//! sees the caller's stack, and what is stored there in less than 8 bytes off an 8-byte boundary counts
//! as unknown each time it is read.

use std::fmt;

/// Something that a test can look at. All values are unsigned numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// IPv4: byte 9. IPv6: the protocol behind the extension headers.
    Protocol,
    /// 1 when the IPv6 extension headers cannot be walked to their end, else 0.
    BrokenHeaders,
    /// IPv4: in units of 8 bytes. IPv6: in bytes. Only 0, 1 and the rest differ in meaning.
    FragmentOffset,
    /// How many bytes the packet has from its transport header on.
    TransportLength,
    /// Bytes 0 and 1 of the transport header.
    SourcePort,
    /// Bytes 2 and 3 of the transport header.
    DestinationPort,
    /// Byte 0 of the transport header.
    IcmpType,
    /// Byte 1 of the transport header.
    IcmpCode,
    /// The high nibble of byte 12 of the transport header: its length in words.
    TcpHeaderWords,
    /// Byte 13 of the transport header.
    TcpFlags,
    /// 1 when the packet holds all the TCP options that its header announces, else 0.
    TcpOptionsWhole,
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

/// How a field lies in `struct packet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the struct.
    pub offset: i16,
    /// Bytes: 1, 2, 4 (host byte order) or, with `network`, 4 or 16.
    pub size: u8,
    /// Whether the bytes are as in the packet, the first the most significant.
    pub network: bool,
}

/// The parts of `struct packet` that are not fields of a test, in bytes from its start.
pub mod layout {
    use ipt2bpf_parser::ruleset::NfHook;

    /// The TCP options seen: 256 bits, bit n of the little-endian number for option kind n.
    pub const TCP_OPTIONS: i16 = 88;
    /// The IPv4 type of service or the IPv6 traffic class: `u8`, for routing.
    pub const TOS: i16 = 86;
    /// The packet's length from the IP header on, as counters count it: `u32`.
    pub const LENGTH: i16 = 120;
    /// Where the rules go on next: `u32`, see [`plan`](crate::plan).
    pub const ENTRY: i16 = 124;
    /// Number of places on the return stack: `u32`.
    pub const DEPTH: i16 = 128;
    /// Where the IP header lies in the frame at XDP, in bytes: `u8`.
    pub const IP_HEADER: i16 = 137;
    /// Where the transport header lies from the IP header on, in bytes; 0 where that is unknown: `u16`.
    pub const TRANSPORT: i16 = 138;
    /// The netfilter hook whose chains the packet is in, as [`nf_hook_number`] has it: `u8`.
    pub const NF_HOOK: i16 = 87;
    /// Whether a TRACE rule has matched: `u8`.
    pub const TRACED: i16 = 136;
    /// 1 when the packet begins a connection that is not in the table yet: `u8`.
    pub const UNCONFIRMED: i16 = 149;
    /// The interface that routing has chosen for a packet to another host, 0 before that: `u32`.
    pub const OUT_INDEX: i16 = 156;
    /// The return stack: `u16` each.
    pub const STACK: i16 = 160;

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

    /// Whether the field lies in the transport header.
    pub const fn is_transport(self) -> bool {
        matches!(
            self,
            Field::SourcePort
                | Field::DestinationPort
                | Field::IcmpType
                | Field::IcmpCode
                | Field::TcpHeaderWords
                | Field::TcpFlags
                | Field::TcpOptionsWhole
        )
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
            Field::TransportLength => (68, 4, false),
            Field::FragmentOffset => (66, 2, false),
            Field::SourcePort => (74, 2, false),
            Field::DestinationPort => (76, 2, false),
            Field::Protocol => (78, 1, false),
            Field::BrokenHeaders => (79, 1, false),
            Field::TcpFlags => (81, 1, false),
            Field::TcpHeaderWords => (82, 1, false),
            Field::TcpOptionsWhole => (83, 1, false),
            Field::IcmpType => (84, 1, false),
            Field::IcmpCode => (85, 1, false),
            Field::Answer => (132, 4, false),
            Field::CtMark => (140, 4, false),
            Field::CtState => (145, 1, false),
            Field::CtDirection => (146, 1, false),
            Field::CtStatus => (147, 1, false),
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
            Field::Protocol => "protocol",
            Field::BrokenHeaders => "broken headers",
            Field::FragmentOffset => "fragment offset",
            Field::TransportLength => "transport length",
            Field::SourcePort => "source port",
            Field::DestinationPort => "destination port",
            Field::IcmpType => "icmp type",
            Field::IcmpCode => "icmp code",
            Field::TcpHeaderWords => "tcp header words",
            Field::TcpFlags => "tcp flags",
            Field::TcpOptionsWhole => "tcp options whole",
            Field::Answer => "answer",
            Field::CtState => "connection state",
            Field::CtDirection => "connection direction",
            Field::CtStatus => "connection status",
            Field::CtMark => "connection mark",
        })
    }
}
