//! The types of addresses: what the routing tables of a network namespace say of each, and how the map
//! [`ADDRESSES_MAP`](crate::module::ADDRESSES_MAP) holds it.
//!
//! A type is a number of `rtnetlink(7)`, `RTN_*`, or [`route_type::LOCAL_ANYCAST`]. The map is a trie of prefixes:
//!
//! | bytes of a key | |
//! |---|---|
//! | 4 | length of the prefix in bits, the family's and the interface's among them |
//! | 4 | 4 or 6, in network byte order |
//! | 4 | index of the interface, or 0 |
//! | 16 | the address; IPv4's in the first four |
//!
//! | bytes of a value | |
//! |---|---|
//! | 4 | the type |
//! | 4 | index of the interface that the address belongs to |
//!
//! Numbers are in host byte order where nothing else is said. A map that a loader has filled holds an
//! entry for every address of a family ([`AddressEntry::rest`]): a search that finds nothing means that
//! nobody has filled it.

use std::net::IpAddr;

use ipt2bpf_parser::ruleset::Family;

/// Bytes of a key behind the length of its prefix.
pub const KEY: u32 = 24;
/// Bytes of a value.
pub const VALUE: u32 = 8;
/// Bits of a key in front of the address.
const FRONT_BITS: u32 = 64;
/// Of them, those of the family.
const FAMILY_BITS: u32 = 32;

/// `RTN_*` of include/uapi/linux/rtnetlink.h.
pub mod route_type {
    /// `RTN_UNICAST`
    pub const UNICAST: u8 = 1;
    /// `RTN_LOCAL`
    pub const LOCAL: u8 = 2;
    /// `RTN_BROADCAST`
    pub const BROADCAST: u8 = 3;
    /// `RTN_ANYCAST`
    pub const ANYCAST: u8 = 4;
    /// `RTN_MULTICAST`
    pub const MULTICAST: u8 = 5;
    /// No number of the kernel's: [`LOCAL`] and [`ANYCAST`] at once, which an IPv6 address can be.
    pub const LOCAL_ANYCAST: u8 = 12;
}

/// What is known of the addresses of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressEntry {
    /// The family.
    pub family: Family,
    /// The addresses; none for all of the family, on whatever interface.
    pub prefix: Option<AddressPrefix>,
    /// Their type, `RTN_*`.
    pub route_type: u8,
    /// Index of the interface that they belong to, 0 for none.
    pub interface: u32,
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPrefix {
    /// The first of them.
    pub address: IpAddr,
    /// How many bits all of them have in common.
    pub length: u8,
    /// The only interface that the entry is for; 0 when nobody asks for one.
    pub scope: u32,
}

impl AddressPrefix {
    /// Whether all addresses of the other are among these, whatever the interfaces.
    pub fn covers(&self, other: &AddressPrefix) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        let differing = bits(self.address) ^ bits(other.address);
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.length <= other.length
            && differing.leading_zeros() >= u32::from(self.length)
    }
}

impl AddressEntry {
    /// All addresses of which nothing else is known.
    pub fn rest(family: Family) -> Self {
        AddressEntry {
            family,
            prefix: None,
            route_type: route_type::UNICAST,
            interface: 0,
        }
    }

    /// Its key in the map.
    pub fn key(&self) -> [u8; 4 + KEY as usize] {
        let mut key = [0; 4 + KEY as usize];
        let length = self
            .prefix
            .map_or(FAMILY_BITS, |it| FRONT_BITS + u32::from(it.length));
        key[..4].copy_from_slice(&length.to_ne_bytes());
        key[4..8].copy_from_slice(&family_number(self.family).to_be_bytes());
        if let Some(prefix) = self.prefix {
            key[8..12].copy_from_slice(&prefix.scope.to_ne_bytes());
            match prefix.address {
                IpAddr::V4(address) => key[12..16].copy_from_slice(&address.octets()),
                IpAddr::V6(address) => key[12..].copy_from_slice(&address.octets()),
            }
        }
        key
    }

    /// Its value in the map.
    pub fn value(&self) -> [u8; VALUE as usize] {
        let mut value = [0; VALUE as usize];
        value[..4].copy_from_slice(&u32::from(self.route_type).to_ne_bytes());
        value[4..].copy_from_slice(&self.interface.to_ne_bytes());
        value
    }
}

/// 4 or 6.
pub fn family_number(family: Family) -> u32 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

/// The entry for an address on an interface (0 when none is asked for): the one of the longest prefix.
pub fn find(entries: &[AddressEntry], address: IpAddr, scope: u32) -> Option<&AddressEntry> {
    let family = match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    };
    let wanted = AddressPrefix {
        address,
        length: 128,
        scope,
    };
    let fits = |entry: &&AddressEntry| {
        entry.family == family
            && entry
                .prefix
                .is_none_or(|it| it.covers(&wanted) && it.scope == scope)
    };
    let length = |entry: &&AddressEntry| entry.prefix.map(|it| it.length);
    entries.iter().filter(fits).max_by_key(length)
}
