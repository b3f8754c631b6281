//! `-m tcp`: ports, flags, options (libxt_tcp, xt_tcpudp.c).

use serde::Serialize;

use super::PortRange;
use crate::ruleset::Negatable;

/// The `tcp` match. An option that is absent does not test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tcp {
    /// `--sport`
    pub source_ports: Option<Negatable<PortRange>>,
    /// `--dport`
    pub destination_ports: Option<Negatable<PortRange>>,
    /// `--tcp-flags`, `--syn`
    pub flags: Option<Negatable<Flags>>,
    /// `--tcp-option`, 1 to 255
    pub option: Option<Negatable<u8>>,
}

/// Bits of the TCP header's byte 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Flags {
    /// The bits looked at.
    pub mask: u8,
    /// The bits that must be set among them.
    pub set: u8,
}
