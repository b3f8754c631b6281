//! Match extensions: one file each, named in one table.

pub mod comment;
pub mod conntrack;
pub mod icmp;
pub mod limit;
pub mod multiport;
pub mod tcp;
pub mod udp;

use serde::Serialize;

use crate::unknown::Unknown;

/// An inclusive range of port numbers, host byte order. `low > high` never matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PortRange {
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

/// `-m NAME` with its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// `-m comment`
    Comment(comment::Comment),
    /// `-m conntrack`
    Conntrack(conntrack::Conntrack),
    /// `-m icmp`
    Icmp(icmp::Icmp),
    /// `-m icmp6`
    Icmp6(icmp::Icmp6),
    /// `-m limit`
    Limit(limit::Limit),
    /// `-m multiport`
    Multiport(multiport::Multiport),
    /// `-m state`
    State(conntrack::State),
    /// `-m tcp`
    Tcp(tcp::Tcp),
    /// `-m udp`
    Udp(udp::Udp),
    /// An extension that this version does not know, kept word for word.
    Unknown(Unknown),
}
