//! Random rulesets for property tests, of the most used extensions.
//!
//! All are valid and canonical: printing and parsing gives them back, places aside. Left out are
//! the few values whose saved text means something else, such as `! -i +` or `-p all` for IPv6.

mod action;
mod base;
mod matches;
mod rule;
mod ruleset;
mod targets;
mod values;

pub use base::network;
pub use rule::rule;
pub use ruleset::{ruleset, ruleset_of, table};
