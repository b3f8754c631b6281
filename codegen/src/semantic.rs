//! The semantic IR: what a ruleset means at one hook, with nothing of iptables' spelling left.
//!
//! A [`Filter`] holds, per family, the chains that can be reached at the hook and the [`Stage`]s a
//! packet passes one after the other: one built-in chain of one table each. A rule is a list of
//! [`Step`]s, taken in order. A step whose test fails ends the rule in one of two ways
//! ([`Otherwise`]): the packet goes on to the next rule, or it is dropped at once, which netfilter calls a
//! hot drop (`par->hotdrop`, net/ipv4/netfilter/ip_tables.c). What takes more than a look at fields, or
//! changes something, is a [`Routine`]: a step that asks one leaves the answer in [`Field::Answer`] for
//! the tests that follow. When all steps hold, the rule is counted, its effects happen, and its action is
//! taken.
//!
//! Invariants: every [`ChainId`] is in range; jumps and gotos form no cycle; every stage's chain ends in
//! a policy and no other chain does.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::ruleset::{Family, NfHook, TableKind};
use ipt2bpf_parser::span::Span;
use serde::{Deserialize, Serialize};

use crate::field::Field;
use crate::module::Hook;
use crate::options::ConnectionTable;
use crate::routine::Routine;

/// A ruleset's meaning at one hook.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The hook.
    pub hook: Hook,
    /// At most one per family; a packet of another family passes.
    pub families: Vec<FamilyFilter>,
}

/// The part of a filter that sees the packets of one family.
#[derive(Clone, Debug)]
pub struct FamilyFilter {
    /// The family.
    pub family: Family,
    /// All chains, those of the stages among them.
    pub chains: Vec<Chain>,
    /// What a packet passes, in order. The first that drops it ends its way.
    pub stages: Vec<Stage>,
    /// How connections are tracked, if they are: behind the raw table, and confirmed at the end.
    pub tracking: Option<Tracking>,
}

/// How packets of a hook are tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// They come from outside.
    pub arrives: bool,
    /// They may be fragments, of which netfilter sees only the whole: all but the first pass, and the
    /// first decides.
    pub fragments: bool,
    /// Whose connections they have.
    pub table: ConnectionTable,
}

impl Tracking {
    /// That of a hook.
    pub fn at(hook: Hook, table: ConnectionTable) -> Self {
        Tracking {
            arrives: hook != Hook::CgroupEgress,
            fragments: hook == Hook::Xdp,
            table,
        }
    }

    /// Whether a frame's connection is looked up in the kernel's table, which knows some protocols only.
    pub fn asks_kernel(self) -> bool {
        self.table == ConnectionTable::Kernel && self.fragments
    }
}

/// A chain by its index in [`FamilyFilter::chains`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(pub u32);

/// One table's built-in chain at the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which packets pass here.
    pub path: Path,
    /// The table, for messages.
    pub table: TableKind,
    /// The netfilter hook, which matches may ask for.
    pub nf_hook: NfHook,
    /// Where the packet enters.
    pub chain: ChainId,
}

/// Which packets a stage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// All that the hook sees.
    All,
    /// Those that routing gives to this host. IPv4 fragments but the first pass: netfilter's INPUT sees
    /// the reassembled datagram, whose fate the first fragment decides here.
    Local,
    /// Those that routing sends on.
    Transit,
}

/// A chain of rules.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// What happens behind the last.
    pub end: End,
    /// What else happens when the policy counts, as the effects of a rule.
    pub effects: Vec<Routine>,
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Back to the caller.
    Return,
    /// The policy counts and decides.
    Policy(Verdict, CounterId),
}

/// What a table says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It goes on to the next stage.
    Accept,
    /// It is gone.
    Drop,
}

/// A counter by its index in the counters map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterId(pub u32);

impl CounterId {
    /// Of what is not counted.
    pub const NONE: CounterId = CounterId(u32::MAX);
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The tests in their order.
    pub steps: Vec<Step>,
    /// Incremented when all steps hold, before the effects.
    pub counter: CounterId,
    /// What else happens then, in order. A routine whose answer is not zero drops the packet.
    pub effects: Vec<Routine>,
    /// What then happens.
    pub action: Action,
    /// The rule as iptables-save prints it.
    pub text: String,
    /// Where it was written.
    pub span: Span,
}

/// What a matching rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The next rule.
    Continue,
    /// The verdict of this table.
    Verdict(Verdict),
    /// Back to the caller, or to the policy.
    Return,
    /// Into a chain, and back.
    Jump(ChainId),
    /// Into a chain, whose end is the end of this one.
    Goto(ChainId),
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A test.
    Check {
        /// What must hold.
        test: Test,
        /// What happens when it does not.
        otherwise: Otherwise,
    },
    /// Runs a routine, whose answer is [`Field::Answer`] from then on.
    Ask(Routine),
    /// When this holds, the packet is dropped at the end of the rule, whether it matches or not. A match
    /// whose opposite is asked for can be true of a packet that it drops.
    Doom(Test),
}

/// How a failed test ends a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Otherwise {
    /// The rule does not match.
    NoMatch,
    /// The packet is dropped at once.
    HotDrop,
}

impl Step {
    /// The rule does not match unless this holds.
    pub fn require(test: Test) -> Self {
        Step::Check {
            test,
            otherwise: Otherwise::NoMatch,
        }
    }

    /// The packet is dropped at once unless this holds.
    pub fn demand(test: Test) -> Self {
        Step::Check {
            test,
            otherwise: Otherwise::HotDrop,
        }
    }
}

/// A condition on a packet, without side effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Test {
    /// `field & mask == value`
    Masked {
        /// The field.
        field: Field,
        /// The bits looked at.
        mask: u128,
        /// What they must be.
        value: u128,
    },
    /// `low <= field <= high`; never true when `low > high`.
    Range {
        /// The field.
        field: Field,
        /// The least value.
        low: u128,
        /// The greatest value.
        high: u128,
    },
    /// The TCP options hold this kind (walked as `tcp_find_option`, net/netfilter/xt_tcpudp.c).
    TcpOption(u8),
    /// The opposite.
    Not(Box<Test>),
    /// Each of them; always true when there is none.
    All(Vec<Test>),
    /// One of them; never true when there is none.
    Any(Vec<Test>),
}

impl Test {
    /// `field == value`
    pub fn equal(field: Field, value: u32) -> Self {
        Test::between(field, value, value)
    }

    /// `low <= field <= high`
    pub fn between(field: Field, low: impl Into<u128>, high: impl Into<u128>) -> Self {
        Test::Range {
            field,
            low: low.into(),
            high: high.into(),
        }
    }

    /// `field >= low`
    pub fn at_least(field: Field, low: u32) -> Self {
        Test::between(field, low, field.max())
    }

    /// The test, or its opposite.
    pub fn negated_if(self, negated: bool) -> Self {
        if negated {
            Test::Not(Box::new(self))
        } else {
            self
        }
    }

    /// Calls `visit` with every part that is not made of others.
    pub fn leaves(&self, visit: &mut impl FnMut(&Test)) {
        match self {
            Test::Not(inner) => inner.leaves(visit),
            Test::All(parts) | Test::Any(parts) => parts.iter().for_each(|part| part.leaves(visit)),
            leaf => visit(leaf),
        }
    }
}

impl Rule {
    /// Calls `visit` with every part of every test.
    pub fn leaves(&self, visit: &mut impl FnMut(&Test)) {
        for step in &self.steps {
            if let Step::Check { test, .. } | Step::Doom(test) = step {
                test.leaves(visit);
            }
        }
    }

    /// All its routines, in order.
    pub fn routines(&self) -> impl Iterator<Item = &Routine> {
        let asked = self.steps.iter().filter_map(|step| match step {
            Step::Ask(routine) => Some(routine),
            Step::Check { .. } | Step::Doom(_) => None,
        });
        asked.chain(&self.effects)
    }

    /// Whether it looks at the packet's connection.
    pub fn asks_for_connections(&self) -> bool {
        let mut asks = false;
        self.leaves(&mut |leaf| {
            asks |= matches!(leaf, Test::Masked { field, .. } | Test::Range { field, .. }
                if field.is_connection());
        });
        let mut routines = self.routines();
        asks || routines.any(|it| it.work().reads().iter().any(|field| field.is_connection()))
    }
}

impl FamilyFilter {
    /// The chain behind an id.
    pub fn chain(&self, id: ChainId) -> &Chain {
        &self.chains[id.0 as usize]
    }

    /// Calls `visit` with every part of every test of every rule.
    pub fn leaves(&self, visit: &mut impl FnMut(&Test)) {
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        rules.for_each(|rule| rule.leaves(visit));
    }

    /// The first rule that looks at the packet's connection.
    pub fn asks_for_connections(&self) -> Option<&Rule> {
        let mut rules = self.chains.iter().flat_map(|chain| &chain.rules);
        rules.find(|rule| rule.asks_for_connections())
    }

    /// All routines of all rules, in order, as often as they are asked.
    pub fn routines(&self) -> impl Iterator<Item = &Routine> {
        let policies = self.chains.iter().flat_map(|chain| &chain.effects);
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        rules.flat_map(Rule::routines).chain(policies)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hook {}", self.hook)?;
        for family in &self.families {
            writeln!(f, "  family {}", family_name(family.family))?;
            if family.tracking.is_some() {
                writeln!(f, "    track connections")?;
            }
            for stage in &family.stages {
                let path = match stage.path {
                    Path::All => "",
                    Path::Local => " if local",
                    Path::Transit => " if transit",
                };
                let chain = family.chain(stage.chain);
                writeln!(f, "    stage {}:{}{path}", stage.table, chain.name)?;
            }
            for (id, chain) in family.chains.iter().enumerate() {
                writeln!(f, "    chain {id} {}", chain.name)?;
                for rule in &chain.rules {
                    writeln!(f, "      # {}", rule.text)?;
                    for step in &rule.steps {
                        writeln!(f, "      {step}")?;
                    }
                    match rule.counter {
                        CounterId::NONE => write!(f, "      ")?,
                        counter => write!(f, "      count {}, ", counter.0)?,
                    }
                    for effect in &rule.effects {
                        write!(f, "{effect}, ")?;
                    }
                    writeln!(f, "{}", rule.action)?;
                }
                match chain.end {
                    End::Return => writeln!(f, "      end, return")?,
                    End::Policy(verdict, counter) => {
                        write!(f, "      end, count {}, ", counter.0)?;
                        for effect in &chain.effects {
                            write!(f, "{effect}, ")?;
                        }
                        writeln!(f, "{verdict}")?
                    }
                }
            }
        }
        Ok(())
    }
}

/// `IPv4` or `IPv6`.
pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "accept",
            Verdict::Drop => "drop",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Continue => f.write_str("continue"),
            Action::Verdict(verdict) => verdict.fmt(f),
            Action::Return => f.write_str("return"),
            Action::Jump(chain) => write!(f, "jump {}", chain.0),
            Action::Goto(chain) => write!(f, "goto {}", chain.0),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Check { test, otherwise } => match otherwise {
                Otherwise::NoMatch => write!(f, "require {test}"),
                Otherwise::HotDrop => write!(f, "demand {test}"),
            },
            Step::Ask(routine) => write!(f, "ask {routine}"),
            Step::Doom(test) => write!(f, "doom if {test}"),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Masked { field, mask, value } => {
                let show = |bits: u128| match field {
                    Field::Source4 | Field::Destination4 => Ipv4Addr::from(bits as u32).to_string(),
                    Field::Source6 | Field::Destination6 => Ipv6Addr::from(bits).to_string(),
                    Field::InDevice | Field::OutDevice => {
                        format!("\"{}\"", bits.to_be_bytes().escape_ascii())
                    }
                    _ => format!("{bits:#x}"),
                };
                let shown_mask = match field {
                    Field::InDevice | Field::OutDevice => format!("{mask:032x}"),
                    _ => show(*mask),
                };
                write!(f, "{field} & {shown_mask} == {}", show(*value))
            }
            Test::Range { field, low, high } => {
                let (low_shown, high_shown) = (Value(*field, *low), Value(*field, *high));
                match (low, high) {
                    _ if low == high => write!(f, "{field} == {low_shown}"),
                    _ if *high >= Field::max(*field) => write!(f, "{field} >= {low_shown}"),
                    _ => write!(f, "{field} in {low_shown}..={high_shown}"),
                }
            }
            Test::TcpOption(kind) => write!(f, "tcp option {kind}"),
            Test::Not(inner) => write!(f, "not ({inner})"),
            Test::All(parts) => list(f, "all", parts),
            Test::Any(parts) => list(f, "any", parts),
        }
    }
}

/// A value as a range shows it: an address as such, else a number.
struct Value(Field, u128);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value(field, bits) = *self;
        match field {
            Field::Source4 | Field::Destination4 => Ipv4Addr::from(bits as u32).fmt(f),
            Field::Source6 | Field::Destination6 => Ipv6Addr::from(bits).fmt(f),
            _ => bits.fmt(f),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, word: &str, parts: &[Test]) -> fmt::Result {
    write!(f, "{word} of [")?;
    for (index, part) in parts.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{part}")?;
    }
    f.write_str("]")
}
