//! The language of `iptables-save`: text to a typed [`Ruleset`](ruleset::Ruleset) and back.
//!
//! ```
//! use ipt2bpf_parser::{Counts, ParseOptions, parse, span::Sources};
//!
//! let mut sources = Sources::default();
//! let id = sources.add("rules.v4", "*filter\n-A INPUT -p 6 --dport ssh -j ACCEPT\nCOMMIT\n");
//! let parsed = parse(&sources, id, &ParseOptions::default());
//! assert!(parsed.diagnostics.is_empty());
//! let text = parsed.rulesets[0].print(Counts::Chains);
//! assert!(text.ends_with(b"-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"));
//! ```
//!
//! # What a ruleset is
//!
//! A ruleset holds the [tables](ruleset::Table) of one [family](ruleset::Family). A table holds
//! [chains](ruleset::Chain): one built-in chain for each [hook](ruleset::NfHook) of the table, with a
//! policy, whether or not the text mentions it, and the user chains. A chain holds
//! [rules](ruleset::Rule) in order. A rule is a [base match](ruleset::BaseMatch) (addresses,
//! interfaces, protocol, fragment), then [matches](matches::Match) in the order of the text, which is
//! the order of evaluation, then an [action](ruleset::Action): a verdict, a jump or goto to a user
//! chain, a [target](targets::Target), or nothing.
//!
//! # What is canonical
//!
//! Different texts of one meaning give equal rulesets:
//! - Networks are masked. Masks are kept as masks, as they may have holes.
//! - Names of protocols, services, ICMP types, log levels and reject types are numbers or variants.
//! - Options are read by any spelling that iptables takes: long, short, abbreviated, in any order. An
//!   implied match (`-p tcp --dport 22`) is a match like any other.
//! - A line with several addresses is several rules.
//! - Defaults are filled in (`REJECT`, `limit`).
//! - Chains stand in the order of `iptables-legacy-save`. Tables stand in the order of the text.
//!
//! A [`Span`](span::Span) tells where in the text a part was read. Spans do not count when rulesets
//! and their parts are compared.
//!
//! # What `parse` promises
//!
//! [`parse`] reads a text as `iptables-restore` does, and [`parse_onto`] puts one onto rulesets that
//! are there, as `iptables-restore --noflush` does.
//!
//! - Every text has a [`Parsed`], whatever bytes it is made of. Nothing panics. Nothing is read but
//!   the text. After a hundred errors the rest of the text is not looked at.
//! - A text that iptables-legacy-restore 1.8.9 refuses has an error among the diagnostics, and a text
//!   that it takes has none, with these exceptions: names of hosts other than `localhost` are errors, as
//!   nothing is looked up; the names of protocols and services are those of Debian and of
//!   [`ParseOptions::names`], and those of users and groups are `root` and the latter; any ipset, counter, estimator,
//!   control group, connection tracking helper, timeout policy and security context may exist; ports
//!   above 65535, which udp cuts to 16 bits, are errors; and so are chains that form a loop no packet
//!   can enter.
//! - Without errors, every chain that a rule leads to is in the table, no chain can reach itself, and
//!   each extension stands where the kernel takes it.
//! - Every extension of iptables 1.8.9 has a type. An [`Unknown`](unknown::Unknown) one comes only
//!   from the binary form ([`mod@blob`]), whose kernels may have others.
//! - Printing the ruleset of an error-free text gives what `iptables-legacy-save` prints after a
//!   restore, byte for byte. Where the tool prints a name without the quotes that it needs, there is
//!   a warning ([`code::LOSSY_SAVE`](diagnostic::code::LOSSY_SAVE)).
//!
//! # Where things are
//!
//! A text becomes lines ([`parse`]), a line becomes words and a command with its rule, and each
//! extension reads its own options. An extension is one file in [`mod@matches`] or [`targets`] with its
//! options as a table, its checks and its printing, and one line in the registry of that module.
//! The sets that rules ask for have a language of their own, in [`mod@ipset`].

#[cfg(feature = "arbitrary")]
pub mod arbitrary;
pub mod blob;
mod check;
mod command;
mod databases;
pub mod diagnostic;
mod extension;
mod family;
pub mod header_options;
pub mod input;
mod invocation;
pub mod ipset;
mod listing;
mod lossy;
pub mod matches;
mod names;
mod placement;
pub mod prefix;
mod print;
pub mod range;
mod rate;
mod reader;
mod render;
pub mod ruleset;
mod services;
pub mod span;
mod table;
pub mod targets;
pub mod tos;
pub mod unknown;
mod value;
mod words;

pub use command::About;
pub use databases::Names;
pub use family::heading;
pub use invocation::{Change, Invocation, Outcome};
pub use listing::ListStyle;
pub use names::protocol_name;
pub use print::{Counts, Place};
pub use reader::{ParseOptions, Parsed, RestoreOptions, parse, parse_onto, restore};
pub use render::{Style, render};
