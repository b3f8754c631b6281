//! Names that stand for numbers, and names that iptables knows.

use bstr::ByteSlice;

use crate::ruleset::Family;
use crate::services::SERVICES;

/// IANA protocol numbers by the names of Debian's /etc/protocols, which iptables-save prints.
const PROTOCOLS: &[(&str, u8)] = &[
    ("hopopt", 0),
    ("ip", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("st", 5),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("udp", 17),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", 33),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("skip", 57),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", 132),
    ("fc", 133),
    ("mobility-header", 135),
    ("udplite", 136),
    ("mpls-in-ip", 137),
    ("manet", 138),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
    ("ethernet", 143),
];

/// Further names, those of iptables itself (libxtables, `xtables_chain_protos`). The aliases of
/// /etc/protocols are in capitals, and iptables never finds them, as it looks for small letters.
const PROTOCOL_ALIASES: &[(&str, u8)] =
    &[("all", 0), ("icmpv6", 58), ("ipv6-mh", 135), ("mh", 135)];

/// The number of a protocol name in lower case.
pub(crate) fn protocol_number(name: &[u8]) -> Option<u8> {
    PROTOCOLS
        .iter()
        .chain(PROTOCOL_ALIASES)
        .find(|row| row.0.as_bytes() == name)
        .map(|row| row.1)
}

/// The name that iptables-save prints for a protocol number.
pub fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOLS
        .iter()
        .find(|row| row.1 == number)
        .map(|row| row.0)
}

/// All protocol names.
pub(crate) fn protocols() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().chain(PROTOCOL_ALIASES).map(|row| row.0)
}

/// The port of a service that runs over a protocol.
pub(crate) fn service_of(name: &[u8], protocol: u8) -> Option<u16> {
    SERVICES
        .iter()
        .find(|(names, _, protocols)| {
            protocols.contains(&protocol) && names.iter().any(|it| it.as_bytes() == name)
        })
        .map(|row| row.1)
}

/// The name of the service at a port.
pub(crate) fn service_at(port: u16, protocol: u8) -> Option<&'static str> {
    let mut services = SERVICES.iter();
    let row = services.find(|(_, at, protocols)| *at == port && protocols.contains(&protocol))?;
    row.0.first().copied()
}

/// The port of a service over whichever protocol, as the resolver finds it: TCP first, then UDP.
pub(crate) fn service(name: &[u8]) -> Option<u16> {
    RESOLVED
        .iter()
        .find_map(|&protocol| service_of(name, protocol))
}

/// The protocols that the resolver of glibc tries for a service: TCP, UDP, DCCP, UDP-Lite.
pub(crate) const RESOLVED: [u8; 4] = [6, 17, 33, 136];

/// The match that options after `-p` belong to when none is loaded, by protocol number.
pub(crate) fn protocol_match(protocol: u8, family: Family) -> Option<&'static str> {
    Some(match (protocol, family) {
        (6, _) => "tcp",
        (17, _) => "udp",
        (1, Family::V4) => "icmp",
        (58, Family::V6) => "icmp6",
        (33, _) => "dccp",
        (50, _) => "esp",
        (51, _) => "ah",
        (108, _) => "ipcomp",
        (132, _) => "sctp",
        (135, Family::V6) => "mh",
        _ => return None,
    })
}

/// The candidate that a misspelt word most likely meant.
pub(crate) fn closest<'a>(
    word: &[u8],
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_str().ok()?;
    candidates
        .map(|candidate| {
            let distance =
                strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|&(distance, candidate)| distance <= 1 + candidate.len() / 5)
        .min()
        .map(|(_, candidate)| candidate)
}
