//! Connection tracking of our own, as netfilter does it (net/netfilter/nf_conntrack_core.c), in a map
//! that the programs of an object share.
//!
//! A packet is first [resolved](resolve): which connection it belongs to, and which way it goes in it.
//! Then its connection's [`Flow`] is looked up and told of the packet; that gives the state that rules
//! see. All this happens before the rules run, behind the raw table. A packet that begins a connection
//! enters it into the map only when all rules have accepted it.
//!
//! [`table`], [`tcp`] and [`sctp`] are the reference; [`code`] says the same in bytecode. What differs from the
//! kernel by design:
//! - Checksums are not verified: at cgroup hooks they cannot be, and at XDP frames of virtual devices do
//!   not have them yet.
//! - The kernel looks for connections that have expired now and then, and where the table is full, for one
//!   that is not assured to make way for a new one (`early_drop`), else it drops the packet. Here each new
//!   connection looks at a few that began longest ago ([`code::enter`]): those that have expired go, and where
//!   half the table has been filled within [`Timeouts::flood`](timeouts::Timeouts::flood) seconds, those go that
//!   are not assured. A flood of new connections so has half the table for itself. When assured ones fill the
//!   other half too, those are forgotten that were used least lately.
//! - A first fragment at XDP stands for the whole: what it says of its length is taken on trust, and the
//!   windows of a TCP connection that sends fragments are not looked at any more.
//! - Of a packet of SCTP no more than [`sctp::MAX_CHUNKS`] chunks that change an association are looked at: one with
//!   more is invalid. DCCP is tracked as any other protocol, as kernels from 6.16 on do.
//! - A UDP-Lite packet that arrives is invalid, as the kernel's checksum test makes nearly all of them; so are ICMPv6
//!   redirects.
//! - There are no helpers: nothing is expected.
//! - Times are the kernel's defaults or chosen ([`timeouts`]), and what a connection may begin with is as by
//!   default, whatever the kernel's `net.netfilter.nf_conntrack_*` say.
//!
//! `difftest/tests/differences.rs` shows each; `difftest/tests/flood.rs` that of a full table.

pub mod code;
pub mod kernel;
pub mod resolve;
pub mod sctp;
pub mod table;
pub mod tcp;
pub mod timeouts;
pub mod tuple;
pub mod value;

use crate::module::HashShape;

/// The map of the flows.
pub const FLOWS_MAP: &str = "flows";
/// The map of the locks, each for the flows of one hash.
pub const LOCKS_MAP: &str = "flow_locks";
/// The map of the keys of flows in the order in which they began, see [`code::enter`].
pub const RING_MAP: &str = "flow_ring";
/// The map with what has become of flows: one value, of which [`statistics`] tells the parts.
pub const STATISTICS_MAP: &str = "flow_stats";
/// How many flows are remembered unless the user says otherwise.
pub const MAX_FLOWS: u32 = 262_144;
/// How many locks there are: a power of two.
pub const LOCKS: u32 = 1024;

/// The states that rules see, as `xt_conntrack` numbers them (`XT_CONNTRACK_STATE_*`,
/// include/uapi/linux/netfilter/xt_conntrack.h). A packet has one.
pub mod state {
    /// In the place of a state: nobody tells ([`kernel`](super::kernel)).
    pub const UNKNOWN: u8 = 0;
    /// It has no connection.
    pub const INVALID: u8 = 1;
    /// Its connection has seen packets of both sides.
    pub const ESTABLISHED: u8 = 2;
    /// It tells of an error on a connection.
    pub const RELATED: u8 = 4;
    /// Its connection has seen packets of one side only.
    pub const NEW: u8 = 8;
    /// It is not tracked.
    pub const UNTRACKED: u8 = 64;
}

/// The states of packets without a connection.
pub const NO_CONNECTION: u8 = state::INVALID | state::UNTRACKED;

/// What is known of a flow (`enum ip_conntrack_status`).
pub mod status {
    /// Another connection let it expect (`IPS_EXPECTED`); ours never do.
    pub const EXPECTED: u8 = 1;
    /// The other side has answered.
    pub const SEEN_REPLY: u8 = 2;
    /// It is worth keeping.
    pub const ASSURED: u8 = 4;
    /// It is in the map.
    pub const CONFIRMED: u8 = 8;
}

/// The bytes by which a flow is found, equal for both directions.
///
/// Both ends stand in a fixed order, that of their addresses and ports, so that a packet and its answer
/// give the same key. For ICMP queries the side that asks comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; Key::SIZE]);

impl Key {
    /// Bytes of a key.
    pub const SIZE: usize = 40;
    /// Where the address of the first end lies: 16 bytes; IPv4 takes the first 4.
    pub const FIRST: usize = 0;
    /// The address of the other end.
    pub const SECOND: usize = 16;
    /// The port of the first end, or the identifier of an ICMP query; network byte order.
    pub const FIRST_PORT: usize = 32;
    /// The port of the other end.
    pub const SECOND_PORT: usize = 34;
    /// The protocol's number.
    pub const PROTOCOL: usize = 36;
    /// 4 or 6.
    pub const FAMILY: usize = 37;
    /// The type of an ICMP query, as it asks.
    pub const ICMP_TYPE: usize = 38;
    /// The code of an ICMP query.
    pub const ICMP_CODE: usize = 39;
}

/// One side of a TCP connection, as its packets show it (`struct ip_ct_tcp_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// The sequence number behind the last it has sent.
    pub end: u32,
    /// The greatest that it may send.
    pub max_end: u32,
    /// Its greatest window.
    pub max_window: u32,
    /// The last acknowledgement it has sent.
    pub max_ack: u32,
    /// The shift of its windows.
    pub scale: u8,
    /// [`tcp::flags`].
    pub flags: u8,
}

/// A connection in the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The tick at which it is forgotten.
    pub expires: u32,
    /// The connection's mark.
    pub mark: u32,
    /// Packets of the original and the reply direction.
    pub packets: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
    /// Whether the original direction is from the key's second end to its first.
    pub backwards: bool,
    /// [`status`].
    pub status: u8,
    /// The TCP part.
    pub tcp: tcp::Connection,
    /// The SCTP part.
    pub sctp: sctp::Association,
    /// UDP: the tick from which packets of both sides make it a stream.
    pub stream_from: u32,
}

/// Where a [`Flow`] lies in the map's value.
pub mod layout {
    #![allow(missing_docs)]
    pub const EXPIRES: i16 = 0;
    pub const MARK: i16 = 4;
    pub const PACKETS: [i16; 2] = [8, 24];
    pub const BYTES: [i16; 2] = [16, 32];
    pub const BACKWARDS: i16 = 40;
    pub const STATUS: i16 = 41;
    pub const TCP_STATE: i16 = 42;
    pub const LAST_INDEX: i16 = 43;
    pub const LAST_DIRECTION: i16 = 44;
    pub const LAST_SCALE: i16 = 45;
    pub const LAST_FLAGS: i16 = 46;
    pub const RETRANSMITS: i16 = 47;
    pub const LAST_SEQUENCE: i16 = 48;
    pub const LAST_ACK: i16 = 52;
    pub const LAST_END: i16 = 56;
    pub const LAST_WINDOW: i16 = 60;
    pub const SCTP_STATE: i16 = 62;
    pub const SCTP_NOTES: i16 = 63;
    /// The two sides, the original's first.
    pub const SIDES: [i16; 2] = [64, 84];
    /// Takes the place of what only TCP has.
    pub const STREAM_FROM: i16 = 64;
    /// Likewise.
    pub const SCTP_TAGS: [i16; 2] = [64, 68];
    /// Bytes of a value.
    pub const SIZE: i16 = 104;

    /// Where the parts of a side lie, from its start.
    pub mod side {
        pub const END: i16 = 0;
        pub const MAX_END: i16 = 4;
        pub const MAX_WINDOW: i16 = 8;
        pub const MAX_ACK: i16 = 12;
        pub const SCALE: i16 = 16;
        pub const FLAGS: i16 = 17;
    }
}

/// Where things lie in the value of [`STATISTICS_MAP`], in bytes from its start: `u64` each.
pub mod statistics {
    /// How often a place in the ring has been looked at.
    pub const LOOKED: i16 = 8;
    /// Flows that were entered into the table.
    pub const INSERTED: i16 = 16;
    /// Flows that could not be.
    pub const INSERT_FAILED: i16 = 24;
    /// Flows that had expired or ended when a new one came, and were taken out.
    pub const EXPIRED: i16 = 32;
    /// Flows that were not assured and made way for a new one.
    pub const EARLY_DROPPED: i16 = 40;
    /// The bytes behind the lock.
    pub const BYTES: u32 = 40;
}

/// How many places the ring has for a table of so many flows: a power of two, at most half as many.
pub const fn ring_places(entries: u32) -> u32 {
    match entries {
        0..=3 => 1,
        entries => 1 << (entries / 2).ilog2(),
    }
}

/// The shape of a map of so many flows.
pub const fn flows_shape(entries: u32) -> HashShape {
    HashShape {
        key: Key::SIZE as u32,
        bytes: layout::SIZE as u32,
        entries,
        evicts: true,
        locked: false,
    }
}
