//! The language of `iptables-save`: text to a typed [`Ruleset`](ruleset::Ruleset) and back.

mod check;
mod command;
pub mod diagnostic;
mod extension;
mod family;
pub mod matches;
mod names;
mod print;
mod reader;
mod render;
pub mod ruleset;
pub mod span;
mod table;
pub mod targets;
pub mod unknown;
mod value;
mod words;

pub use family::heading;
pub use print::{Counts, Place};
pub use reader::{ParseOptions, Parsed, parse};
pub use render::{Style, render};
