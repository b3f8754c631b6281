//! `-m udp`: ports (libxt_udp, xt_tcpudp.c).

use serde::Serialize;

use super::PortRange;
use crate::ruleset::Negatable;

/// The `udp` match. An option that is absent does not test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Udp {
    /// `--sport`
    pub source_ports: Option<Negatable<PortRange>>,
    /// `--dport`
    pub destination_ports: Option<Negatable<PortRange>>,
}
