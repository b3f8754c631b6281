//! `-m conntrack --ctstate` and `-m state` (libxt_conntrack, xt_conntrack.c, xt_state.c).

use serde::Serialize;

use crate::ruleset::Negatable;

/// A set of connection states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct States {
    /// `INVALID`
    pub invalid: bool,
    /// `NEW`
    pub new: bool,
    /// `RELATED`
    pub related: bool,
    /// `ESTABLISHED`
    pub established: bool,
    /// `UNTRACKED`
    pub untracked: bool,
    /// `SNAT`, only with `-m conntrack`
    pub snat: bool,
    /// `DNAT`, only with `-m conntrack`
    pub dnat: bool,
}

/// The `conntrack` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// `--ctstate`
    pub states: Negatable<States>,
}

/// The `state` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// `--state`
    pub states: Negatable<States>,
}
