//! The structs of x_tables.h, ip_tables.h and ip6_tables.h, with their padding spelt out. A field
//! means what it means there.

use std::net::{IpAddr, Ipv4Addr};

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::prefix::Prefix;
use crate::ruleset::{Family, TableKind};

/// `XT_TABLE_MAXNAMELEN`
pub(super) type TableName = [u8; 32];
/// `IFNAMSIZ`
pub(super) type InterfaceName = [u8; 16];

/// `struct ipt_replace`, `struct ip6t_replace` without the entries.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ReplaceHeader {
    pub name: TableName,
    pub valid_hooks: U32,
    pub num_entries: U32,
    pub size: U32,
    pub hook_entry: [U32; 5],
    pub underflow: [U32; 5],
    pub num_counters: U32,
    pub counters: U64,
}

/// `struct ipt_getinfo`, `struct ip6t_getinfo`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct GetInfo {
    pub name: TableName,
    pub valid_hooks: U32,
    pub hook_entry: [U32; 5],
    pub underflow: [U32; 5],
    pub num_entries: U32,
    pub size: U32,
}

/// `struct ipt_get_entries`, `struct ip6t_get_entries` without the entries.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct GetEntries {
    pub name: TableName,
    pub size: U32,
    pub padding: [u8; 4],
}

/// `struct ipt_entry` without its matches and target.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Entry4 {
    pub ip: Ip4,
    pub nfcache: U32,
    pub target_offset: U16,
    pub next_offset: U16,
    pub comefrom: U32,
    pub counters: EntryCounters,
}

/// `struct ip6t_entry` without its matches and target.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Entry6 {
    pub ip: Ip6,
    pub nfcache: U32,
    pub target_offset: U16,
    pub next_offset: U16,
    pub comefrom: U32,
    pub padding: [u8; 4],
    pub counters: EntryCounters,
}

/// `struct xt_counters`
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct EntryCounters {
    pub packets: U64,
    pub bytes: U64,
}

/// `struct ipt_ip`
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Ip4 {
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub source_mask: [u8; 4],
    pub destination_mask: [u8; 4],
    pub interfaces: Interfaces,
    pub protocol: U16,
    pub flags: u8,
    pub inverted: u8,
}

/// `struct ip6t_ip6`
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Ip6 {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_mask: [u8; 16],
    pub destination_mask: [u8; 16],
    pub interfaces: Interfaces,
    pub protocol: U16,
    pub tos: u8,
    pub flags: u8,
    pub inverted: u8,
    pub padding: [u8; 3],
}

/// The interface fields that both families have in a row.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Interfaces {
    pub inwards: InterfaceName,
    pub outwards: InterfaceName,
    pub inwards_mask: InterfaceName,
    pub outwards_mask: InterfaceName,
}

/// `struct xt_entry_match`, `struct xt_entry_target` without the data.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ExtensionHeader {
    /// Of the data, too.
    pub size: U16,
    pub name: [u8; 29],
    pub revision: u8,
}

/// The data of `struct xt_standard_target`, whose name is empty.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct StandardTarget {
    pub verdict: I32,
    pub padding: [u8; 4],
}

/// The data of `struct xt_error_target`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ErrorTarget {
    pub name: [u8; 30],
    pub padding: [u8; 2],
}

/// The alignment of entries, matches and targets (`XT_ALIGN`).
pub(super) const ALIGNMENT: usize = 8;
/// `XT_STANDARD_TARGET`
pub(super) const STANDARD: &str = "";
/// `XT_ERROR_TARGET`
pub(super) const ERROR: &str = "ERROR";
/// The verdict of a rule without a verdict of netfilter's own (`XT_RETURN`).
pub(super) const RETURN: i32 = -5;
/// `-NF_DROP - 1`
pub(super) const DROP: i32 = -1;
/// `-NF_ACCEPT - 1`
pub(super) const ACCEPT: i32 = -2;
/// `-NF_QUEUE - 1`
pub(super) const QUEUE: i32 = -4;

/// The bytes before the first NUL, if there is one.
pub(super) fn until_nul(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|&byte| byte == 0)?;
    field.get(..end)
}

/// The bytes with zeros behind them; none unless a NUL fits, too.
pub(super) fn with_nul<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut field = [0; N];
    if text.len() >= N {
        return None;
    }
    field.get_mut(..text.len())?.copy_from_slice(text);
    Some(field)
}

/// `union nf_inet_addr`: an IPv6 address, or an IPv4 address and zeros.
pub(super) type InetAddress = [u8; 16];

/// The address of a family.
pub(super) fn read_address(family: Family, address: &InetAddress) -> IpAddr {
    match family {
        Family::V4 => read_v4(address).into(),
        Family::V6 => IpAddr::from(*address),
    }
}

/// The IPv4 address.
pub(super) fn read_v4(address: &InetAddress) -> Ipv4Addr {
    let [a, b, c, d, ..] = *address;
    Ipv4Addr::new(a, b, c, d)
}

/// The union with this address.
pub(super) fn write_address(address: IpAddr) -> InetAddress {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// The length of a family's mask, if it has no holes.
pub(super) fn read_prefix(family: Family, mask: &InetAddress) -> Option<u8> {
    let bits = match family {
        Family::V4 => u128::from(read_v4(mask).to_bits()) << 96,
        Family::V6 => u128::from_be_bytes(*mask),
    };
    let length = bits.leading_ones();
    let is_prefix = length == bits.count_ones();
    u8::try_from(length).ok().filter(|_| is_prefix)
}

/// The mask of this length.
pub(super) fn write_prefix(length: u8) -> InetAddress {
    let hosts = 128_u32.saturating_sub(length.into());
    u128::MAX.checked_shl(hosts).unwrap_or(0).to_be_bytes()
}

/// The network of an address and a mask without holes.
pub(super) fn read_network(family: Family, [address, mask]: &[InetAddress; 2]) -> Option<Prefix> {
    Some(Prefix {
        address: read_address(family, address),
        length: read_prefix(family, mask)?,
    })
}

/// The address and the mask of a network as libxtables fills them (`xtopt_parse_hostmask`): for a
/// whole IPv4 address, which is saved without its mask, the bits behind the mask are set, too.
pub(super) fn write_network(network: Prefix) -> [InetAddress; 2] {
    let mask = match network.address {
        IpAddr::V4(_) if network.length >= 32 => [0xff; 16],
        _ => write_prefix(network.length),
    };
    [write_address(network.address), mask]
}

/// The mask of a whole IPv4 address, when it is given and when it is left out. Nobody looks behind the
/// first four bytes.
const WHOLE_IPV4: [InetAddress; 2] = [
    [255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [255; 16],
];

/// Makes one that was left out one that was given, as [`write_prefix`] writes it.
pub(super) fn tidy_mask(family: Family, mask: &mut InetAddress) {
    let [given, left_out] = WHOLE_IPV4;
    if family == Family::V4 && *mask == left_out {
        *mask = given;
    }
}

/// Makes one that was given one that was left out, as [`write_network`] writes it.
pub(super) fn tidy_network(family: Family, [_, mask]: &mut [InetAddress; 2]) {
    let [given, left_out] = WHOLE_IPV4;
    if family == Family::V4 && *mask == given {
        *mask = left_out;
    }
}

/// The table of a header.
pub(super) fn table_kind(field: &TableName) -> Option<TableKind> {
    let name = until_nul(field)?;
    let mut kinds = TableKind::ALL.into_iter();
    kinds.find(|kind| kind.to_string().as_bytes() == name)
}

/// The name of a table as a header has it.
pub(super) fn table_name(kind: TableKind) -> TableName {
    with_nul(kind.to_string().as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that a C compiler gives for x86_64.
    #[test]
    fn sizes_are_those_of_the_kernel() {
        assert_eq!(size_of::<ReplaceHeader>(), 96);
        assert_eq!(size_of::<GetInfo>(), 84);
        assert_eq!(size_of::<GetEntries>(), 40);
        assert_eq!(size_of::<Ip4>(), 84);
        assert_eq!(size_of::<Entry4>(), 112);
        assert_eq!(size_of::<Ip6>(), 136);
        assert_eq!(size_of::<Entry6>(), 168);
        assert_eq!(size_of::<ExtensionHeader>(), 32);
        assert_eq!(size_of::<StandardTarget>(), 8);
        assert_eq!(size_of::<ErrorTarget>(), 32);
    }

    #[test]
    fn names_need_a_nul() {
        assert_eq!(until_nul(b"ab\0c"), Some(&b"ab"[..]));
        assert_eq!(until_nul(b"abc"), None);
        assert_eq!(with_nul::<3>(b"ab"), Some(*b"ab\0"));
        assert_eq!(with_nul::<3>(b"abc"), None);
    }
}
