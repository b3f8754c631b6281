//! What a set is.

use std::net::{IpAddr, Ipv4Addr};

use bstr::BString;
use serde::Serialize;

use super::kind::SetType;
use crate::ruleset::{Counters, Family};
use crate::span::Spanned;

/// A named set with its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Set {
    /// The name that rules call it by: up to 31 bytes.
    pub name: Spanned<String>,
    /// What its elements are made of.
    pub kind: SetType,
    /// What it was created with.
    pub options: Options,
    /// In the order of the text; no element twice. The order counts in a list of sets only.
    pub entries: Vec<Spanned<Entry>>,
}

/// The options of a set. What a text does not say is none, and the kernel's default holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Options {
    /// The family of its addresses; none in sets without addresses.
    pub family: Option<Family>,
    /// What a bitmap can hold.
    pub range: Option<Range>,
    /// Addresses are cut to networks of this prefix length, in entries as in packets.
    pub netmask: Option<u8>,
    /// Addresses are masked with this, in entries as in packets.
    pub bitmask: Option<IpAddr>,
    /// Marks are masked with this, in entries as in packets.
    pub markmask: Option<u32>,
    /// How many buckets the hash table starts with: a power of two from 64.
    pub hashsize: Option<u32>,
    /// How many entries a hash may have.
    pub maxelem: Option<u32>,
    /// How many entries a bucket may have: an even number from 2 to 12.
    pub bucketsize: Option<u8>,
    /// The seed of the hash function.
    pub initval: Option<u32>,
    /// How many sets a list was planned for. The kernel takes more.
    pub size: Option<u32>,
    /// How many seconds an entry lives that does not say so itself; 0 is for ever. Without it no
    /// entry can say so.
    pub timeout: Option<u32>,
    /// Whether entries count packets and bytes.
    pub counters: bool,
    /// Whether entries may have comments.
    pub comment: bool,
    /// Whether entries may have marks, priorities and queues for `-j SET --map-set`.
    pub skbinfo: bool,
    /// Whether a full set makes room for new entries.
    pub forceadd: bool,
}

impl Options {
    /// How many entries a hash may have, 65,536 if the text does not say
    /// (`IPSET_DEFAULT_MAXELEM`, ip_set_hash.h).
    pub fn max_entries(&self) -> u32 {
        self.maxelem.unwrap_or(65_536)
    }
}

/// What a bitmap can hold, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// Addresses of IPv4.
    Addresses(Ipv4Addr, Ipv4Addr),
    /// Ports.
    Ports(u16, u16),
}

/// One element of a set and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// One part for each dimension of the set's type. Only an entry of `bitmap:ip,mac` may lack its
    /// last part: the first packet from the address fills it in.
    pub parts: Vec<Part>,
    /// An exception: a packet that this entry matches is not in the set.
    pub nomatch: bool,
    /// Seconds left to live, 0 for ever. None in sets without timeouts.
    pub timeout: Option<u32>,
    /// None in sets without counters.
    pub counters: Option<Counters>,
    /// Any bytes but quotes, NUL and newline; up to 255.
    pub comment: Option<BString>,
    /// What `-j SET --map-set` gives to the packet.
    pub skbinfo: SkbInfo,
}

/// What an entry gives to packets; what is zero is not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SkbInfo {
    /// The firewall mark.
    pub mark: u32,
    /// Which bits of the mark are set.
    pub mark_mask: u32,
    /// Major and minor number of a traffic class, 16 bits each.
    pub priority: u32,
    /// The number of a transmit queue.
    pub queue: u16,
}

/// One dimension of an element.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// An address, under the netmask or bitmask of the set.
    Address(IpAddr),
    /// A network.
    Network {
        /// Its first address.
        address: IpAddr,
        /// The length of its prefix in bits.
        length: u8,
    },
    /// An Ethernet address.
    Mac([u8; 6]),
    /// A firewall mark, under the markmask of the set.
    Mark(u32),
    /// A port of any protocol.
    Port(u16),
    /// A port of a protocol.
    ProtocolPort {
        /// The protocol's number; never 0.
        protocol: u8,
        /// A port for TCP, UDP, SCTP and UDPLITE; type times 256 plus code for ICMP and ICMPv6; 0
        /// for other protocols.
        port: u16,
    },
    /// A network interface.
    Interface {
        /// Its name, up to 15 bytes.
        name: String,
        /// Whether it is meant as a port of a bridge.
        physdev: bool,
        /// Whether all names that begin so are meant.
        wildcard: bool,
    },
    /// Another set.
    Set(String),
}
