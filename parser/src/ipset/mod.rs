//! The language of `ipset save`: text to typed [`Set`]s and back.
//!
//! ```
//! use ipt2bpf_parser::{Names, ipset, span::Sources};
//!
//! let mut sources = Sources::default();
//! let id = sources.add("sets", "create web hash:ip,port\nadd web 10.0.0.1,80-81\n");
//! let parsed = ipset::parse(&sources, &[id], &Names::default());
//! assert!(parsed.diagnostics.is_empty());
//! let text = ipset::print(&parsed.sets);
//! assert!(text.ends_with(b"add web 10.0.0.1,tcp:80\nadd web 10.0.0.1,tcp:81\n"));
//! ```
//!
//! # What a set is
//!
//! A [`Set`] has a name, a [type](SetType), [`Options`] and [entries](Entry). An entry has one
//! [`Part`] for each dimension of the type and what the set's extensions keep for it: a timeout,
//! counters, a comment, a mark.
//!
//! # What is canonical
//!
//! - A range stands for the elements that the kernel makes of it: addresses or ports, or the fewest
//!   networks that cover it.
//! - Addresses and marks are masked, names of protocols, services and ICMP types are numbers.
//! - Entries of sets with a timeout or counters have one, given or not.
//! - Members of a list stand where `before` and `after` put them.
//! - What `create` does not say is none. The kernel would choose it, partly at random.
//!
//! # What `parse` promises
//!
//! - Every text has a [`Parsed`], whatever bytes it is made of. Nothing panics. After a hundred errors
//!   the rest is not looked at.
//! - A text that `ipset restore` 7.17 refuses has an error among the diagnostics, and a text that it
//!   takes has none, with these exceptions, which are errors here: host names; commands other than
//!   `create` and `add`; the old options `from`, `to` and `network` of hashes and `NAME,before,NAME`
//!   of lists; names that are not UTF-8 or have blanks; more than 262,144 elements made
//!   from ranges; ranges in sets with a mask, unless a `hash:ip` has a netmask; more than 32 bits in
//!   marks and priorities, or anything behind them.
//! - Names of protocols are taken in any case.
//! - `-exist` holds from its line to the end of its text. The tool sends lines in bundles, of which
//!   the first line decides.
//! - [Printing](print()) the sets of a text that `ipset save` printed gives the text, byte for byte.

mod add;
mod create;
mod element;
mod icmp;
mod kind;
mod options;
mod print;
mod reader;
mod set;
mod value;
mod words;

use crate::diagnostic::Diagnostic;

pub use kind::SetType;
pub use print::print;
pub use reader::parse;
pub use set::{Entry, Options, Part, Range, Set, SkbInfo};

/// What texts say, and what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the texts, but lists of sets behind all others, so that their members are
    /// there before them. No name twice. Lines with errors are left out.
    pub sets: Vec<Set>,
    /// In the order of the texts.
    pub diagnostics: Vec<Diagnostic>,
}

/// The codes of diagnostics about sets, besides those of [rulesets](crate::diagnostic::code).
pub mod code {
    /// A type that ipset does not have.
    pub const UNKNOWN_SET_TYPE: &str = "unknown-set-type";
    /// A set that is used and not created.
    pub const UNKNOWN_SET: &str = "unknown-set";
    /// A set of one family in a rule of the other.
    pub const WRONG_FAMILY: &str = "wrong-family";
    /// A set created twice.
    pub const DUPLICATE_SET: &str = "duplicate-set";
    /// More sets than the kernel can number.
    pub const TOO_MANY_SETS: &str = "too-many-sets";
    /// An element added twice.
    pub const DUPLICATE_ENTRY: &str = "duplicate-entry";
    /// More entries than the set may have.
    pub const SET_FULL: &str = "set-full";
}
