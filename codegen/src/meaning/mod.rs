//! What each match and target means: one file per extension, named in one table.
//!
//! A match becomes steps; a target becomes an action. What cannot be said exactly is a [`Refusal`].

mod aside;
mod base;
pub mod classify;
mod comment;
mod conntrack;
pub mod ct;
mod icmp;
pub mod limit;
mod log;
mod multiport;
pub mod nfqueue;
mod reject;
mod tcp;
pub mod tell;
pub mod trace;
mod udp;
mod untranslated;

pub use base::base_steps;

use ipt2bpf_parser::matches::{Match, PortRange};
use ipt2bpf_parser::ruleset::{Family, Negatable};
use ipt2bpf_parser::targets::Target;

use crate::field::Field;
use crate::module::Hook;
use crate::options::Options;
use crate::routine::{Place, Routine};
use crate::semantic::{Action, Step, Test};

/// What a meaning may depend on besides the extension's own options.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The family of the ruleset.
    pub family: Family,
    /// The hook the program is for.
    pub hook: Hook,
    /// Where in the ruleset the match or target stands.
    pub place: Place,
    /// What the user chose.
    pub options: &'a Options,
}

/// Why an extension cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A stable name for programs.
    pub code: &'static str,
    /// What cannot be done, as the end of a sentence that begins with the extension's name.
    pub reason: String,
    /// What to do instead.
    pub help: String,
}

/// A match with a meaning.
pub trait MatchMeaning {
    /// The steps that stand for it, in order.
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal>;
}

/// A target with a meaning.
pub trait TargetMeaning {
    /// What it does to the packet.
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal>;

    /// What it may stand for where it is refused, erring towards dropping.
    fn approximation(&self) -> Option<Action> {
        None
    }
}

/// What a target does, and what of its work is left undone that no verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetAction {
    /// What it changes or tells.
    pub effects: Vec<Routine>,
    /// What then happens to the packet.
    pub action: Action,
    /// What the administrator should know.
    pub note: Option<String>,
}

/// The table of matches; what is not in it is refused.
pub fn match_meaning(extension: &Match) -> &dyn MatchMeaning {
    match extension {
        Match::Comment(comment) => comment,
        Match::Conntrack(conntrack) => conntrack,
        Match::Icmp(icmp) => icmp,
        Match::Icmp6(icmp6) => icmp6,
        Match::Limit(limit) => limit,
        Match::Multiport(multiport) => multiport,
        Match::State(state) => state,
        Match::Tcp(tcp) => tcp,
        Match::Udp(udp) => udp,
        _ => &untranslated::Untranslated,
    }
}

/// The table of targets; what is not in it is refused.
pub fn target_meaning(extension: &Target) -> &dyn TargetMeaning {
    match extension {
        Target::Audit(audit) => audit,
        Target::Checksum(checksum) => checksum,
        Target::Classify(classify) => classify,
        Target::Connsecmark(connsecmark) => connsecmark,
        Target::Ct(ct) => ct,
        Target::Idletimer(idletimer) => idletimer,
        Target::Led(led) => led,
        Target::Log(log) => log,
        Target::Nflog(nflog) => nflog,
        Target::Nfqueue(nfqueue) => nfqueue,
        Target::Notrack(notrack) => notrack,
        Target::Rateest(rateest) => rateest,
        Target::Reject(reject) => reject,
        Target::Secmark(secmark) => secmark,
        Target::Tee(tee) => tee,
        Target::Trace(trace) => trace,
        _ => &untranslated::Untranslated,
    }
}

/// Not a later fragment: those have no transport header to look at.
fn first_fragment() -> Step {
    Step::require(Test::equal(Field::FragmentOffset, 0))
}

/// So many bytes of transport header are there, or the packet is dropped.
fn transport_header(bytes: u32) -> Step {
    Step::demand(Test::at_least(Field::TransportLength, bytes))
}

/// A port lies in a range; no step when the option is absent.
fn port_step(field: Field, ports: &Option<Negatable<PortRange>>) -> Option<Step> {
    let ports = ports.as_ref()?;
    Some(Step::require(
        port_test(field, &ports.value.value).negated_if(ports.negated),
    ))
}

fn port_test(field: Field, range: &PortRange) -> Test {
    Test::Range {
        field,
        low: range.low.into(),
        high: range.high.into(),
    }
}
