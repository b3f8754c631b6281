//! The language of `iptables-save`: text to a typed [`Ruleset`](ruleset::Ruleset) and back.

pub mod diagnostic;
pub mod matches;
pub mod ruleset;
pub mod span;
pub mod targets;
pub mod unknown;
