//! The ruleset: what an iptables-save text says, typed.
//!
//! A [`Ruleset`] holds the tables of one family. Everything in it is already canonical: a network is
//! masked, a service name is a number, an abbreviated option is its full self. Chains stand in the
//! order in which `iptables-legacy-save` prints them (built-in chains in hook order, then user chains
//! in byte order), so that printing is a plain walk.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::matches::Match;
use crate::span::{Span, Spanned};
use crate::targets::Target;

/// The protocol family of a ruleset: iptables or ip6tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, `iptables`.
    V4,
    /// IPv6, `ip6tables`.
    V6,
}

/// The tables of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruleset {
    /// Which of the two tools the text is for.
    pub family: Family,
    /// At most one per [`TableKind`], in the order of the text.
    pub tables: Vec<Table>,
}

/// The five tables of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Before connection tracking.
    Raw,
    /// Header rewriting.
    Mangle,
    /// Address translation; sees only the first packet of a connection.
    Nat,
    /// The usual one.
    Filter,
    /// Mandatory access control marks, after filter.
    Security,
}

/// The five places in the network stack where chains hang (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NfHook {
    /// Every received packet, before routing.
    Prerouting,
    /// Received packets for this host.
    Input,
    /// Packets received for others.
    Forward,
    /// Packets that this host makes.
    Output,
    /// Every leaving packet, after routing.
    Postrouting,
}

impl NfHook {
    /// All hooks, in the order in which a packet may meet them.
    pub const ALL: [NfHook; 5] = [
        NfHook::Prerouting,
        NfHook::Input,
        NfHook::Forward,
        NfHook::Output,
        NfHook::Postrouting,
    ];
}

impl TableKind {
    /// All tables.
    pub const ALL: [TableKind; 5] = [
        TableKind::Raw,
        TableKind::Mangle,
        TableKind::Nat,
        TableKind::Filter,
        TableKind::Security,
    ];

    /// The hooks where the table has a built-in chain, in hook order (the `valid_hooks` of
    /// iptable_raw.c and its siblings).
    pub fn hooks(self) -> &'static [NfHook] {
        use NfHook::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            TableKind::Raw => &[Prerouting, Output],
            TableKind::Mangle => &[Prerouting, Input, Forward, Output, Postrouting],
            TableKind::Nat => &[Prerouting, Input, Output, Postrouting],
            TableKind::Filter | TableKind::Security => &[Input, Forward, Output],
        }
    }
}

/// One table with its chains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Which table.
    pub kind: TableKind,
    /// Built-in chains first, in hook order; then user chains by name.
    pub chains: Vec<Chain>,
}

/// Packets and bytes, as `[12:3456]` in a save file. Bytes count the IP total length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Number of packets.
    pub packets: u64,
    /// Sum of their lengths from the IP header on.
    pub bytes: u64,
}

/// What happens to a packet that reaches the end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Policy {
    /// It passes.
    Accept,
    /// It is dropped.
    Drop,
}

/// A chain of rules. Chains compare by meaning, wherever they are declared.
#[derive(Clone, Debug, Serialize)]
pub struct Chain {
    /// Its name; at most 28 bytes (`XT_EXTENSION_MAXNAMELEN` less one).
    pub name: String,
    /// The hook and policy of a built-in chain; none for a user chain.
    pub builtin: Option<Builtin>,
    /// The policy's counters; zero for a user chain.
    pub counters: Counters,
    /// In order.
    pub rules: Vec<Rule>,
    /// The declaration line, or the table line when there is none.
    pub span: Span,
}

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        let Chain {
            name,
            builtin,
            counters,
            rules,
            span: _,
        } = self;
        (name, builtin, counters, rules)
            == (&other.name, &other.builtin, &other.counters, &other.rules)
    }
}
impl Eq for Chain {}

/// What makes a chain a built-in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Builtin {
    /// Where it hangs.
    pub hook: NfHook,
    /// What decides at its end.
    pub policy: Policy,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// As written in front of the rule, else zero.
    pub counters: Counters,
    /// Addresses, interfaces, protocol, fragment: always tested first.
    pub base: BaseMatch,
    /// The extension matches in the order written, which is the order of evaluation.
    pub matches: Vec<Spanned<Match>>,
    /// What a matching packet meets.
    pub action: Action,
    /// The whole rule in the text, from `-A`.
    pub span: RuleSpan,
}

/// A rule's place; equal to every other place, so that rules compare by meaning.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RuleSpan(pub Span);

impl PartialEq for RuleSpan {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for RuleSpan {}

/// A value that `!` may invert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Negatable<T> {
    /// Whether `!` stands before the option.
    pub negated: bool,
    /// The value with its place.
    #[serde(flatten)]
    pub value: Spanned<T>,
}

/// The tests every rule has without an extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BaseMatch {
    /// `-s`.
    pub source: Option<Negatable<Network>>,
    /// `-d`.
    pub destination: Option<Negatable<Network>>,
    /// `-i`.
    pub in_interface: Option<Negatable<InterfacePattern>>,
    /// `-o`.
    pub out_interface: Option<Negatable<InterfacePattern>>,
    /// `-p`, an IANA protocol number. `-p all` is none for IPv4 and `Some(0)` for IPv6, where it has
    /// an effect that the save text does not show (the header chain is walked).
    pub protocol: Option<Negatable<u8>>,
    /// `-f`: second and further fragments of an IPv4 packet.
    pub fragment: Option<Negatable<()>>,
}

/// An address under a mask; the mask need not be contiguous. The address is already masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Network {
    /// IPv4.
    V4 {
        /// Address, zero where the mask is.
        address: Ipv4Addr,
        /// Mask.
        mask: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Address, zero where the mask is.
        address: Ipv6Addr,
        /// Mask.
        mask: Ipv6Addr,
    },
}

impl Network {
    /// Whether every address is in it.
    pub fn is_everything(&self) -> bool {
        match self {
            Network::V4 { mask, .. } => mask.is_unspecified(),
            Network::V6 { mask, .. } => mask.is_unspecified(),
        }
    }
}

/// An interface name, or with a trailing `+` the names that start with it.
///
/// The kernel compares 16 bytes under a mask (`ifname_compare_aligned`): without `+` the name and its
/// NUL, with `+` only the prefix, so a lone `+` is always true.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct InterfacePattern {
    /// The name without the `+`; at most 15 bytes with it.
    pub name: String,
    /// Whether a `+` ended it.
    pub prefix: bool,
}

/// What a matching packet meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// No `-j`: the rule only counts.
    Continue,
    /// A verdict of the kernel itself.
    Verdict(Verdict),
    /// `-j CHAIN`.
    Jump(ChainRef),
    /// `-g CHAIN`.
    Goto(ChainRef),
    /// `-j EXTENSION`.
    Target(Spanned<Target>),
}

/// The standard targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The packet leaves this table and goes on.
    Accept,
    /// The packet is gone.
    Drop,
    /// Back to the calling chain, or to the policy.
    Return,
    /// To user space; written `QUEUE`, accepted by the tool, meaningless on today's kernels.
    Queue,
}

/// The name of a user chain of the same table.
pub type ChainRef = Spanned<String>;
