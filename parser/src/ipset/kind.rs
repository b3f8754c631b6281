//! The types of sets: of which parts their elements are, and which options they take
//! (lib/ipset_*.c of ipset 7.17, the last revision of each).

use std::fmt::{self, Display};

use serde::Serialize;

use crate::ruleset::Family;

/// A type of set. Its name says where the elements are kept and of which parts they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "&'static str")]
pub enum SetType {
    /// `bitmap:ip`
    BitmapIp,
    /// `bitmap:ip,mac`
    BitmapIpMac,
    /// `bitmap:port`
    BitmapPort,
    /// `hash:ip`
    HashIp,
    /// `hash:mac`
    HashMac,
    /// `hash:ip,mac`
    HashIpMac,
    /// `hash:ip,mark`
    HashIpMark,
    /// `hash:ip,port`
    HashIpPort,
    /// `hash:ip,port,ip`
    HashIpPortIp,
    /// `hash:ip,port,net`
    HashIpPortNet,
    /// `hash:net`
    HashNet,
    /// `hash:net,net`
    HashNetNet,
    /// `hash:net,port`
    HashNetPort,
    /// `hash:net,port,net`
    HashNetPortNet,
    /// `hash:net,iface`
    HashNetIface,
    /// `list:set`
    ListSet,
}

/// What one dimension of an element is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    /// One address.
    Address,
    /// An address; in IPv4 also a range or network that stands for its addresses.
    Addresses,
    /// A network from `/1` on; in IPv4 also a range that stands for its networks.
    Network,
    /// The same from `/0` on.
    NetworkOrAll,
    /// A port or range of ports; `tcp:` or `udp:` may stand before it and mean nothing.
    Port,
    /// `protocol:port`.
    ProtocolPort,
    Mac,
    Mark,
    Interface,
    Set,
}

/// An option of `create`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CreateOption {
    Family,
    Range,
    From,
    To,
    Network,
    Netmask,
    Bitmask,
    MarkMask,
    HashSize,
    MaxElem,
    BucketSize,
    InitVal,
    Size,
    Timeout,
    Counters,
    Comment,
    ForceAdd,
    SkbInfo,
    /// One of ipset 4 that does nothing any more.
    Ignored,
}

struct Spec {
    name: &'static str,
    alias: &'static str,
    dimensions: &'static [Grammar],
    /// In the order of printing.
    options: &'static [CreateOption],
}

use CreateOption as Opt;
use Grammar::{Address, Addresses, Interface, Mac, Mark, Network, NetworkOrAll, ProtocolPort};

/// What most hashes take.
const HASH: &[CreateOption] = &[
    Opt::Family,
    Opt::HashSize,
    Opt::MaxElem,
    Opt::Timeout,
    Opt::Counters,
    Opt::Comment,
    Opt::ForceAdd,
    Opt::SkbInfo,
    Opt::BucketSize,
    Opt::InitVal,
];

/// The same, with options of ipset 4.
const OLD_HASH: &[CreateOption] = &[
    Opt::Family,
    Opt::HashSize,
    Opt::MaxElem,
    Opt::Timeout,
    Opt::Counters,
    Opt::Comment,
    Opt::ForceAdd,
    Opt::SkbInfo,
    Opt::BucketSize,
    Opt::InitVal,
    Opt::Ignored,
];

const BITMAP: &[CreateOption] = &[
    Opt::Range,
    Opt::Timeout,
    Opt::Counters,
    Opt::Comment,
    Opt::SkbInfo,
    Opt::From,
    Opt::To,
    Opt::Network,
];

impl SetType {
    /// All types.
    pub const ALL: [SetType; 16] = [
        SetType::BitmapIp,
        SetType::BitmapIpMac,
        SetType::BitmapPort,
        SetType::HashIp,
        SetType::HashMac,
        SetType::HashIpMac,
        SetType::HashIpMark,
        SetType::HashIpPort,
        SetType::HashIpPortIp,
        SetType::HashIpPortNet,
        SetType::HashNet,
        SetType::HashNetNet,
        SetType::HashNetPort,
        SetType::HashNetPortNet,
        SetType::HashNetIface,
        SetType::ListSet,
    ];

    fn spec(self) -> Spec {
        let spec = |name, alias, dimensions, options| Spec {
            name,
            alias,
            dimensions,
            options,
        };
        match self {
            SetType::BitmapIp => spec(
                "bitmap:ip",
                "ipmap",
                &[Addresses],
                &[
                    Opt::Range,
                    Opt::Netmask,
                    Opt::Timeout,
                    Opt::Counters,
                    Opt::Comment,
                    Opt::SkbInfo,
                    Opt::From,
                    Opt::To,
                    Opt::Network,
                ],
            ),
            SetType::BitmapIpMac => spec("bitmap:ip,mac", "macipmap", &[Address, Mac], BITMAP),
            SetType::BitmapPort => spec("bitmap:port", "portmap", &[Grammar::Port], BITMAP),
            SetType::HashIp => spec(
                "hash:ip",
                "iphash",
                &[Addresses],
                &[
                    Opt::Family,
                    Opt::HashSize,
                    Opt::MaxElem,
                    Opt::Netmask,
                    Opt::Bitmask,
                    Opt::Timeout,
                    Opt::Counters,
                    Opt::Comment,
                    Opt::ForceAdd,
                    Opt::SkbInfo,
                    Opt::BucketSize,
                    Opt::InitVal,
                    Opt::Ignored,
                ],
            ),
            SetType::HashMac => spec(
                "hash:mac",
                "machash",
                &[Mac],
                &[
                    Opt::HashSize,
                    Opt::MaxElem,
                    Opt::Timeout,
                    Opt::Counters,
                    Opt::Comment,
                    Opt::ForceAdd,
                    Opt::SkbInfo,
                    Opt::BucketSize,
                    Opt::InitVal,
                ],
            ),
            SetType::HashIpMac => spec("hash:ip,mac", "ipmachash", &[Address, Mac], HASH),
            SetType::HashIpMark => spec(
                "hash:ip,mark",
                "ipmarkhash",
                &[Addresses, Mark],
                &[
                    Opt::Family,
                    Opt::MarkMask,
                    Opt::HashSize,
                    Opt::MaxElem,
                    Opt::Timeout,
                    Opt::Counters,
                    Opt::Comment,
                    Opt::ForceAdd,
                    Opt::SkbInfo,
                    Opt::BucketSize,
                    Opt::InitVal,
                    Opt::Ignored,
                ],
            ),
            SetType::HashIpPort => spec(
                "hash:ip,port",
                "ipporthash",
                &[Addresses, ProtocolPort],
                &[
                    Opt::Family,
                    Opt::HashSize,
                    Opt::MaxElem,
                    Opt::Timeout,
                    Opt::Counters,
                    Opt::Comment,
                    Opt::ForceAdd,
                    Opt::SkbInfo,
                    Opt::BucketSize,
                    Opt::InitVal,
                    Opt::Netmask,
                    Opt::Bitmask,
                    Opt::Ignored,
                ],
            ),
            SetType::HashIpPortIp => spec(
                "hash:ip,port,ip",
                "ipportiphash",
                &[Addresses, ProtocolPort, Address],
                OLD_HASH,
            ),
            SetType::HashIpPortNet => spec(
                "hash:ip,port,net",
                "ipportnethash",
                &[Addresses, ProtocolPort, Network],
                OLD_HASH,
            ),
            SetType::HashNet => spec("hash:net", "nethash", &[Network], OLD_HASH),
            SetType::HashNetNet => spec(
                "hash:net,net",
                "netnethash",
                &[Network, Network],
                &[
                    Opt::Family,
                    Opt::HashSize,
                    Opt::MaxElem,
                    Opt::Timeout,
                    Opt::Counters,
                    Opt::Comment,
                    Opt::ForceAdd,
                    Opt::SkbInfo,
                    Opt::BucketSize,
                    Opt::InitVal,
                    Opt::Bitmask,
                    Opt::Netmask,
                ],
            ),
            SetType::HashNetPort => spec(
                "hash:net,port",
                "netporthash",
                &[Network, ProtocolPort],
                HASH,
            ),
            SetType::HashNetPortNet => spec(
                "hash:net,port,net",
                "netportnethash",
                &[NetworkOrAll, ProtocolPort, NetworkOrAll],
                HASH,
            ),
            SetType::HashNetIface => spec(
                "hash:net,iface",
                "netifacehash",
                &[NetworkOrAll, Interface],
                HASH,
            ),
            SetType::ListSet => spec(
                "list:set",
                "setlist",
                &[Grammar::Set],
                &[
                    Opt::Size,
                    Opt::Timeout,
                    Opt::Counters,
                    Opt::Comment,
                    Opt::SkbInfo,
                ],
            ),
        }
    }

    /// The type of a name, today's or that of ipset 4.
    pub(super) fn of_name(name: &[u8]) -> Option<SetType> {
        SetType::ALL.into_iter().find(|kind| {
            let Spec {
                name: today, alias, ..
            } = kind.spec();
            name == today.as_bytes() || name == alias.as_bytes()
        })
    }

    /// The name in save files, such as `hash:ip,port`.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// How many parts an element has.
    pub fn dimension(self) -> usize {
        self.dimensions().len()
    }

    /// The parts of an element.
    pub(super) fn dimensions(self) -> &'static [Grammar] {
        self.spec().dimensions
    }

    /// The options of `create`, in the order in which they are printed.
    pub(super) fn options(self) -> &'static [CreateOption] {
        self.spec().options
    }

    /// The family of a set that does not say. None for types without addresses.
    pub(super) fn default_family(self) -> Option<Family> {
        (!matches!(
            self,
            SetType::BitmapPort | SetType::HashMac | SetType::ListSet
        ))
        .then_some(Family::V4)
    }

    /// Whether an element may be an exception.
    pub fn has_nomatch(self) -> bool {
        self.dimensions()
            .iter()
            .any(|part| matches!(part, Network | NetworkOrAll))
    }

    /// Whether the number of entries has a limit of its own.
    pub(super) fn is_hash(self) -> bool {
        self.options().contains(&Opt::MaxElem)
    }
}

impl From<SetType> for &'static str {
    fn from(kind: SetType) -> Self {
        kind.name()
    }
}

impl Display for SetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl CreateOption {
    /// Its words in a text. Those that begin with a dash take no value.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Opt::Family => &["family", "-4", "-6"],
            Opt::Range => &["range"],
            Opt::From => &["from"],
            Opt::To => &["to"],
            Opt::Network => &["network"],
            Opt::Netmask => &["netmask"],
            Opt::Bitmask => &["bitmask"],
            Opt::MarkMask => &["markmask"],
            Opt::HashSize => &["hashsize"],
            Opt::MaxElem => &["maxelem"],
            Opt::BucketSize => &["bucketsize"],
            Opt::InitVal => &["initval"],
            Opt::Size => &["size"],
            Opt::Timeout => &["timeout"],
            Opt::Counters => &["counters"],
            Opt::Comment => &["comment"],
            Opt::ForceAdd => &["forceadd"],
            Opt::SkbInfo => &["skbinfo"],
            Opt::Ignored => &["probes", "resize", "gc"],
        }
    }
}
