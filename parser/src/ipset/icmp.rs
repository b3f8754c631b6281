//! The names of ICMP types and codes in sets (lib/icmp.c, lib/icmpv6.c of ipset). They are not those
//! of `-m icmp`.

use crate::value;

/// Name, type, code. Of several names of one pair, the first is printed.
type Names = &'static [(&'static str, u8, u8)];

const ICMP: Names = &[
    ("echo-reply", 0, 0),
    ("pong", 0, 0),
    ("network-unreachable", 3, 0),
    ("host-unreachable", 3, 1),
    ("protocol-unreachable", 3, 2),
    ("port-unreachable", 3, 3),
    ("fragmentation-needed", 3, 4),
    ("source-route-failed", 3, 5),
    ("network-unknown", 3, 6),
    ("host-unknown", 3, 7),
    ("network-prohibited", 3, 9),
    ("host-prohibited", 3, 10),
    ("TOS-network-unreachable", 3, 11),
    ("TOS-host-unreachable", 3, 12),
    ("communication-prohibited", 3, 13),
    ("host-precedence-violation", 3, 14),
    ("precedence-cutoff", 3, 15),
    ("source-quench", 4, 0),
    ("network-redirect", 5, 0),
    ("host-redirect", 5, 1),
    ("TOS-network-redirect", 5, 2),
    ("TOS-host-redirect", 5, 3),
    ("echo-request", 8, 0),
    ("ping", 8, 0),
    ("router-advertisement", 9, 0),
    ("router-solicitation", 10, 0),
    ("ttl-zero-during-transit", 11, 0),
    ("ttl-zero-during-reassembly", 11, 1),
    ("ip-header-bad", 12, 0),
    ("required-option-missing", 12, 1),
    ("timestamp-request", 13, 0),
    ("timestamp-reply", 14, 0),
    ("address-mask-request", 17, 0),
    ("address-mask-reply", 18, 0),
];

const ICMPV6: Names = &[
    ("no-route", 1, 0),
    ("communication-prohibited", 1, 1),
    ("address-unreachable", 1, 3),
    ("port-unreachable", 1, 4),
    ("packet-too-big", 2, 0),
    ("ttl-zero-during-transit", 3, 0),
    ("ttl-zero-during-reassembly", 3, 1),
    ("bad-header", 4, 0),
    ("unknown-header-type", 4, 1),
    ("unknown-option", 4, 2),
    ("echo-request", 128, 0),
    ("ping", 128, 0),
    ("echo-reply", 129, 0),
    ("pong", 129, 0),
    ("router-solicitation", 133, 0),
    ("router-advertisement", 134, 0),
    ("neighbour-solicitation", 135, 0),
    ("neigbour-solicitation", 135, 0),
    ("neighbour-advertisement", 136, 0),
    ("neigbour-advertisement", 136, 0),
    ("redirect", 137, 0),
];

/// The protocol number of ICMP.
pub(super) const PROTOCOL_ICMP: u8 = 1;
/// The protocol number of ICMPv6.
pub(super) const PROTOCOL_ICMPV6: u8 = 58;

fn names_of(protocol: u8) -> Names {
    match protocol {
        PROTOCOL_ICMP => ICMP,
        PROTOCOL_ICMPV6 => ICMPV6,
        _ => &[],
    }
}

/// The names that one of the two protocols has.
pub(super) fn names(protocol: u8) -> impl Iterator<Item = &'static str> {
    names_of(protocol).iter().map(|row| row.0)
}

/// Type and code of a name, of which any leading part will do, in either case.
pub(super) fn of_name(protocol: u8, name: &[u8]) -> Option<(u8, u8)> {
    names_of(protocol)
        .iter()
        .find(|row| value::is_prefix_of(name, row.0))
        .map(|row| (row.1, row.2))
}

/// The name that is printed for a type and code.
pub(super) fn name(protocol: u8, kind: u8, code: u8) -> Option<&'static str> {
    names_of(protocol)
        .iter()
        .find(|row| (row.1, row.2) == (kind, code))
        .map(|row| row.0)
}
