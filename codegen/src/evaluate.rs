//! The reference evaluator: runs the semantic IR on a packet, without a kernel and without bytecode.
//!
//! It is written to be compared with netfilter's `ipt_do_table` by eye, and is the judge that compiled
//! programs are held against.

use crate::field::Field;
use crate::meaning::hops;
use crate::meaning::reject::Answer;
use crate::packet::{Connected, Packet};
use crate::routine::{Routine, World};
use crate::semantic::{
    Action, ChainId, CounterId, End, FamilyFilter, Otherwise, Path, Rule, Stage, Step, Test,
    Verdict,
};
use crate::track::table::{confirm, track};
use ipt2bpf_parser::ruleset::{NfHook, TableKind};

/// Where routing sends a packet; asked only at hooks that see both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route<'a> {
    /// To this host.
    Local,
    /// To another, through the interface of this name, which only the stages for such packets know.
    Transit(&'a str),
    /// Nowhere: the kernel drops it, whatever the rules say.
    Nowhere,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it passed.
    pub verdict: Verdict,
    /// The hook that rejected it and how its sender is to be told, which
    /// [`reply`](crate::meaning::reject::reply::reply) does.
    pub rejected: Option<(NfHook, Answer)>,
    /// What happened on its way, in order.
    pub trace: Vec<Event>,
    /// Its length before any rule, as counters count it.
    pub length: u64,
    /// The packet as the rules have left it.
    pub packet: Packet<'static>,
}

/// One thing that happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It entered a table's built-in chain.
    Entered(Stage),
    /// It did not match a rule: chain, rule and the step that failed.
    Missed(ChainId, usize, usize),
    /// A routine was asked: chain, rule, step and the answer.
    Asked(ChainId, usize, usize, u32),
    /// It matched a rule: the chain and the rule's index from 0.
    Matched(ChainId, usize),
    /// A rule's test failed in the way that drops the packet: chain, rule and step.
    HotDrop(ChainId, usize, usize),
    /// An effect of a rule that it matched has dropped it: chain, rule and the effect's number.
    DroppedByEffect(ChainId, usize, usize),
    /// It met the policy of a built-in chain.
    Policy(ChainId),
    /// It came to a stage that is not for fragments, and passed.
    LaterFragment,
    /// Its connection was looked up.
    Tracked(Connected),
    /// An effect of a rule has changed a field, one of [`CHANGEABLE`]: chain, rule, the field and its new
    /// value.
    Changed(ChainId, usize, Field, u128),
    /// All rules have accepted it, and the connection that it begins is remembered.
    Remembered,
    /// It was to be forwarded with its last hop: the kernel drops it before FORWARD and tells the sender.
    Exceeded,
    /// Rules of OUTPUT have left it no hop, and it goes to a group: the kernel drops it.
    KeptFromGroup,
}

/// The fields that effects of rules change.
pub const CHANGEABLE: [Field; 7] = [
    Field::Mark,
    Field::TypeOfService,
    Field::TimeToLive,
    Field::Length,
    Field::MaximumSegment,
    Field::CtState,
    Field::CtMark,
];

impl Outcome {
    /// The counters that the packet moved, in order, and by how many bytes each.
    pub fn counters<'a>(
        &'a self,
        filter: &'a FamilyFilter,
    ) -> impl Iterator<Item = (CounterId, u64)> + 'a {
        let mut length = self.length;
        let counters = self.trace.iter().filter_map(move |event| match *event {
            Event::Matched(chain, rule) => Some((filter.chain(chain).rules[rule].counter, length)),
            Event::Policy(chain) => match filter.chain(chain).end {
                End::Policy(_, counter) => Some((counter, length)),
                End::Return => None,
            },
            Event::Changed(_, _, Field::Length, new) => {
                length = new as u64;
                None
            }
            _ => None,
        });
        counters.filter(|&(counter, _)| counter != CounterId::NONE)
    }
}

/// What the filter does with a packet of its family, and to the world.
pub fn evaluate(
    filter: &FamilyFilter,
    packet: &Packet<'_>,
    route: Route<'_>,
    world: &mut World,
) -> Outcome {
    let mut trace = Vec::new();
    let length = packet.len();
    let mut packet = packet.clone();
    let (verdict, rejected) = pass(filter, &mut packet, route, world, &mut trace);
    Outcome {
        verdict,
        rejected,
        trace,
        length,
        packet: packet.into_owned(),
    }
}

/// Takes the packet through the stages; gives the verdict, and how its sender is to be told.
fn pass(
    filter: &FamilyFilter,
    packet: &mut Packet<'_>,
    mut route: Route<'_>,
    world: &mut World,
    trace: &mut Vec<Event>,
) -> (Verdict, Option<(NfHook, Answer)>) {
    let mut untracked = filter.tracking;
    if untracked.is_some_and(|it| it.fragments) && packet.is_later_fragment() {
        trace.push(Event::LaterFragment);
        return (Verdict::Accept, None);
    }
    let group_asked_behind = hops::asked_behind(filter);
    for (number, stage) in filter.stages.iter().enumerate() {
        if stage.table != TableKind::Raw
            && let Some(tracking) = untracked.take()
        {
            track(packet, tracking, world);
            trace.push(Event::Tracked(packet.connection()));
        }
        match (stage.path, route) {
            (Path::All, _) => {}
            (Path::Local, Route::Local) => {
                if packet.is_later_fragment4() {
                    trace.push(Event::LaterFragment);
                    break;
                }
            }
            (Path::Transit, Route::Transit(_)) if packet.has_no_hop_left() => {
                trace.push(Event::Exceeded);
                route = Route::Nowhere;
                continue;
            }
            (Path::Transit, Route::Transit(device)) => packet.leave_by(device),
            (Path::Local | Path::Transit, _) => continue,
        }
        trace.push(Event::Entered(*stage));
        packet.set_nf_hook(stage.nf_hook);
        if run_table(filter, stage.chain, packet, world, trace) == Verdict::Drop {
            let rejected = packet.rejected().map(|answer| (stage.nf_hook, answer));
            return (Verdict::Drop, rejected);
        }
        if group_asked_behind == Some(number + 1) && hops::is_kept_from_group(packet) {
            trace.push(Event::KeptFromGroup);
            return (Verdict::Drop, None);
        }
    }
    if let Some(tracking) = filter.tracking {
        if untracked.is_some() {
            track(packet, tracking, world);
            trace.push(Event::Tracked(packet.connection()));
        }
        if route != Route::Nowhere {
            confirm(packet, tracking, world);
            if packet.connection().is_unconfirmed {
                trace.push(Event::Remembered);
            }
        }
    }
    (Verdict::Accept, None)
}

fn run_table(
    filter: &FamilyFilter,
    builtin: ChainId,
    packet: &mut Packet<'_>,
    world: &mut World,
    trace: &mut Vec<Event>,
) -> Verdict {
    let mut callers: Vec<(ChainId, usize)> = Vec::new();
    let (mut chain, mut next) = (builtin, 0);
    loop {
        let Some(rule) = filter.chain(chain).rules.get(next) else {
            match (filter.chain(chain).end, callers.pop()) {
                (End::Policy(verdict, _), _) => {
                    trace.push(Event::Policy(chain));
                    let mut effects = filter.chain(chain).effects.iter();
                    let dropped = effects.any(|effect| effect.work().perform(packet, world) != 0);
                    return if dropped { Verdict::Drop } else { verdict };
                }
                (End::Return, Some(caller)) => (chain, next) = caller,
                // A goto out of a built-in chain: the end is that chain's policy.
                (End::Return, None) => (chain, next) = (builtin, usize::MAX),
            }
            continue;
        };
        let (failed, doomed) = try_steps(rule, (chain, next), packet, world, trace);
        match failed {
            Some((step, Otherwise::HotDrop)) => {
                trace.push(Event::HotDrop(chain, next, step));
                return Verdict::Drop;
            }
            Some((step, Otherwise::NoMatch)) => {
                trace.push(Event::Missed(chain, next, step));
                if let Some(step) = doomed {
                    trace.push(Event::HotDrop(chain, next, step));
                    return Verdict::Drop;
                }
                next += 1;
            }
            None => {
                trace.push(Event::Matched(chain, next));
                let mut effects = rule.effects.iter();
                let dropping = effects
                    .position(|effect| affect(effect, (chain, next), packet, world, trace) != 0);
                if let Some(effect) = dropping {
                    trace.push(Event::DroppedByEffect(chain, next, effect));
                    return Verdict::Drop;
                }
                if let Some(step) = doomed {
                    trace.push(Event::HotDrop(chain, next, step));
                    return Verdict::Drop;
                }
                match rule.action {
                    Action::Continue => next += 1,
                    Action::Verdict(verdict) => return verdict,
                    Action::Return => next = usize::MAX,
                    Action::Jump(target) => {
                        callers.push((chain, next + 1));
                        (chain, next) = (target, 0);
                    }
                    Action::Goto(target) => (chain, next) = (target, 0),
                }
            }
        }
    }
}

/// Lets an effect of a rule happen, notes what it changes, and gives its answer.
fn affect(
    effect: &Routine,
    (chain, rule): (ChainId, usize),
    packet: &mut Packet<'_>,
    world: &mut World,
    trace: &mut Vec<Event>,
) -> u32 {
    let before = CHANGEABLE.map(|field| packet.get(field));
    let answer = effect.work().perform(packet, world);
    for (field, before) in CHANGEABLE.into_iter().zip(before) {
        let value = packet.get(field);
        if value != before {
            trace.push(Event::Changed(chain, rule, field, value));
        }
    }
    answer
}

/// Takes a rule's steps up to the first whose test fails, which it gives, and the one that has doomed the
/// packet.
fn try_steps(
    rule: &Rule,
    (chain, index): (ChainId, usize),
    packet: &mut Packet<'_>,
    world: &mut World,
    trace: &mut Vec<Event>,
) -> (Option<(usize, Otherwise)>, Option<usize>) {
    let mut doomed = None;
    for (number, step) in rule.steps.iter().enumerate() {
        match step {
            Step::Check { test, otherwise } => {
                if !holds(test, packet) {
                    return (Some((number, *otherwise)), doomed);
                }
            }
            Step::Ask(routine) => {
                let answer = routine.work().perform(packet, world);
                packet.set_answer(answer);
                trace.push(Event::Asked(chain, index, number, answer));
            }
            Step::Doom(test) if holds(test, packet) => doomed = Some(number),
            Step::Doom(_) => {}
        }
    }
    (None, doomed)
}

/// Whether a test holds.
pub fn holds(test: &Test, packet: &Packet<'_>) -> bool {
    match test {
        Test::Masked { field, mask, value } => packet.get(*field) & mask == *value,
        Test::Range { field, low, high } => (*low..=*high).contains(&packet.get(*field)),
        Test::TcpOption(kind) => packet.has_tcp_option(*kind),
        Test::Not(inner) => !holds(inner, packet),
        Test::All(parts) => parts.iter().all(|part| holds(part, packet)),
        Test::Any(parts) => parts.iter().any(|part| holds(part, packet)),
    }
}

/// The value that a test looked at, in words, for a trace.
pub fn value_seen(test: &Test, packet: &Packet<'_>) -> Vec<(Field, u128)> {
    let mut seen = Vec::new();
    test.leaves(&mut |leaf| {
        if let Test::Masked { field, .. } | Test::Range { field, .. } = leaf
            && !seen.iter().any(|(known, _)| known == field)
        {
            seen.push((*field, packet.get(*field)));
        }
    });
    seen
}
