//! `-m multiport`: up to fifteen ports (libxt_multiport, xt_multiport.c).

use serde::Serialize;

use super::PortRange;
use crate::ruleset::Negatable;

/// The `multiport` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Multiport {
    /// Which of the packet's ports are looked at.
    pub side: Side,
    /// A range takes two of the fifteen slots.
    pub ports: Negatable<Vec<PortRange>>,
}

/// Which ports of the packet a multiport rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `--sports`
    Source,
    /// `--dports`
    Destination,
    /// `--ports`: either of the two.
    Either,
}
