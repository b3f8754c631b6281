//! `-m icmp` and `-m icmp6`: type and code (libipt_icmp, libip6t_icmp6, xt_tcpudp.c).

use serde::Serialize;

use crate::ruleset::Negatable;

/// A type with a range of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TypeCode {
    /// The message type.
    pub kind: u8,
    /// The least code.
    pub code_low: u8,
    /// The greatest code.
    pub code_high: u8,
}

/// The `icmp` match. Type 255 means any (`--icmp-type any`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Icmp(pub Negatable<TypeCode>);

/// The `icmp6` match. Type 255 is just type 255.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Icmp6(pub Negatable<TypeCode>);
