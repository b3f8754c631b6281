//! Segments: runs of nodes that a classifier may cover.
//!
//! A run is entered at its first node only, and nothing happens in it but tests of fields and counting. The
//! rules of chains that are copied into their callers stand in it like the callers' own.

use std::ops::Range;
use std::sync::Arc;

use super::record::Record;
use super::{Flow, Node, NodeKind};
use crate::classify::outcome::{Goal, Leave, Way};
use crate::classify::problem::{Problem, is_pure};
use crate::classify::{Builder, Classified, Limits, Strategy};
use crate::options::{KernelVersion, MAX_VALUE, Options};
use crate::semantic::{CounterId, FamilyFilter, Test};

/// Segments of a stage, at most: each is a function.
const MAX_SEGMENTS: usize = 24;
/// What straight code takes for a rule, in nanoseconds.
const STRAIGHT_RULE: f64 = 0.8;
/// What a function of its own takes for a packet, in nanoseconds.
const FUNCTION: f64 = 3.0;
/// Nodes of a run that is halved when no classifier can be made for it: smaller ones are as good straight, and
/// of larger ones even the parts are too much.
const WORTH_HALVING: Range<usize> = 64..8192;
/// Boxes of rules whose tables are not worth the time that it takes to find out that they are too large.
const TOO_MANY_FOR_TABLES: usize = 12_000;
/// About how long the classifiers of a segment may take to build.
const MILLISECONDS: usize = 60;

/// A run of nodes with its classifier.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The nodes.
    pub nodes: Range<usize>,
    /// What decides them.
    pub decider: Decider,
    /// Which packets it does not decide.
    pub gate: Option<Gate>,
}

/// What decides a segment.
#[derive(Clone, Debug)]
pub enum Decider {
    /// A classifier that was made for it.
    New(Arc<Classified>),
    /// One that was made for other rules.
    Known {
        /// Which it is.
        record: Arc<Record>,
        /// Its arrays and the records of outcomes.
        arrays: Arc<[u8]>,
        /// Where packets leave.
        exits: Vec<Leave>,
    },
}

/// Packets that a segment does not decide.
#[derive(Clone, Debug)]
pub struct Gate {
    /// They are those of which one of these holds.
    pub tests: Vec<Test>,
    /// The node that they go to.
    pub first: usize,
}

impl Decider {
    /// How it was made.
    pub fn strategy(&self) -> Strategy {
        match self {
            Decider::New(classified) => classified.strategy,
            Decider::Known { record, .. } => record.strategy,
        }
    }

    /// Bytes of its arrays.
    pub fn bytes(&self) -> usize {
        match self {
            Decider::New(classified) => classified.classifier.data().len(),
            Decider::Known { arrays, .. } => arrays.len(),
        }
    }

    /// About how long it takes for a packet, in nanoseconds.
    pub fn nanoseconds(&self) -> f64 {
        match self {
            Decider::New(classified) => classified.classifier.nanoseconds(),
            Decider::Known { record, .. } => record.nanoseconds,
        }
    }
}

impl Segment {
    /// Takes note of nodes that were put in front of one which comes before the segment.
    pub fn move_behind(&mut self, at: usize, by: usize) {
        let place = |node: usize| if node >= at { node + by } else { node };
        self.nodes = place(self.nodes.start)..place(self.nodes.end);
        if let Some(gate) = &mut self.gate {
            gate.first = place(gate.first);
        }
        if let Decider::Known { exits, .. } = &mut self.decider {
            for exit in exits {
                if let Leave::To { node, back } = exit {
                    *node = place(*node);
                    *back = back.map(place);
                }
            }
        }
    }
}

/// The segments of some nodes that are not straight code, in order, beside those that are known.
pub fn segments(
    filter: &FamilyFilter,
    nodes: &[Node],
    known: Vec<Segment>,
    options: &Options,
) -> Vec<Segment> {
    let gates = known.iter().filter_map(|it| it.gate.as_ref());
    let begins: Vec<usize> = gates.map(|gate| gate.first).collect();
    let mut runs = runs(filter, nodes, 0..nodes.len(), &begins);
    runs.retain(|run| {
        let mut known = known.iter();
        known.all(|it| it.nodes.end <= run.start || run.end <= it.nodes.start)
    });
    runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
    runs.truncate(MAX_SEGMENTS);
    let mut segments = known;
    for run in runs {
        cover(filter, nodes, run, options, &mut segments);
    }
    segments.sort_by_key(|segment| segment.nodes.start);
    segments
}

/// Finds a classifier for a run, or for its halves.
fn cover(
    filter: &FamilyFilter,
    nodes: &[Node],
    run: Range<usize>,
    options: &Options,
    segments: &mut Vec<Segment>,
) {
    if !worth_a_look(filter, &nodes[run.clone()], options) || segments.len() >= MAX_SEGMENTS {
        return;
    }
    if let Some(classified) = classified(filter, nodes, &run, options) {
        segments.push(Segment {
            nodes: run,
            decider: Decider::New(Arc::new(classified)),
            gate: None,
        });
    } else if WORTH_HALVING.contains(&run.len()) {
        let middle = run.start + run.len() / 2;
        for half in runs(filter, nodes, run, &[middle]) {
            cover(filter, nodes, half, options, segments);
        }
    }
}

/// What straight code takes for a packet that matches none of some nodes, or the last, in nanoseconds.
pub fn straight_nanoseconds(nodes: &[Node]) -> f64 {
    STRAIGHT_RULE * nodes.len() as f64
}

fn worth_a_look(filter: &FamilyFilter, nodes: &[Node], options: &Options) -> bool {
    match options.strategy {
        Some(Strategy::Straight) => false,
        Some(_) => nodes.iter().any(|node| match node.kind {
            NodeKind::Rule(chain, rule) => filter.chain(chain).rules[rule].can_miss(),
            NodeKind::Policy(_) => false,
        }),
        None => straight_nanoseconds(nodes) > 2.0 * FUNCTION,
    }
}

/// The cheapest classifier of a run, if it is cheaper than straight code; the one that is asked for, if one is.
fn classified(
    filter: &FamilyFilter,
    nodes: &[Node],
    run: &Range<usize>,
    options: &Options,
) -> Option<Classified> {
    let goal = |flow: Flow| match flow {
        Flow::To(node) if run.contains(&node) => Goal::Node(node - run.start),
        Flow::To(node) => Goal::Leave(Leave::To { node, back: None }),
        Flow::Call { to, back } => Goal::Leave(Leave::To {
            node: to,
            back: Some(back),
        }),
        Flow::Return => Goal::Leave(Leave::Return),
        Flow::Verdict(verdict) => Goal::Leave(Leave::Verdict(verdict)),
    };
    let hit = |node: &Node| Way {
        counter: match node.kind {
            NodeKind::Rule(chain, rule) => filter.chain(chain).rules[rule].counter,
            NodeKind::Policy(counter) => counter,
        },
        to: goal(node.hit),
    };
    let miss = |node: &Node| Way {
        counter: CounterId::NONE,
        to: goal(node.miss),
    };
    let problem = Problem::new(filter, &nodes[run.clone()], hit, miss)?;
    let builder = Builder::new(&problem);
    memories(options).find_map(|memory| {
        let limits = Limits {
            memory,
            milliseconds: MILLISECONDS,
        };
        within(&problem, &builder, &limits, options.strategy).filter(|it| {
            options.strategy.is_some() || cost(it) < straight_nanoseconds(&nodes[run.clone()])
        })
    })
}

/// How much memory is allowed, at first: what every kernel has for one map, then all that may be taken.
fn memories(options: &Options) -> impl Iterator<Item = usize> {
    let kernel = options.target_kernel;
    let large = options.max_memory > MAX_VALUE
        && kernel.is_none_or(|kernel| kernel >= KernelVersion::LARGE_VALUES);
    let first = options.max_memory.min(MAX_VALUE);
    [Some(first), large.then_some(options.max_memory)]
        .into_iter()
        .flatten()
}

/// The cheapest classifier within limits, or that of the strategy that is asked for.
fn within(
    problem: &Problem,
    builder: &Builder<'_>,
    limits: &Limits,
    strategy: Option<Strategy>,
) -> Option<Classified> {
    let build = |strategy: Strategy| builder.build(strategy, limits);
    if let Some(strategy) = strategy {
        return build(strategy);
    }
    if let Some(lookup) = build(Strategy::Lookup) {
        // Of one dimension, nothing is faster.
        return Some(lookup);
    }
    let mixed = match problem.patterns.len() > TOO_MANY_FOR_TABLES {
        true => [Strategy::Hybrid].as_slice(),
        false => &[Strategy::Tables, Strategy::Hybrid],
    };
    let built = mixed.iter().filter_map(|&strategy| build(strategy));
    built.min_by(|a, b| cost(a).total_cmp(&cost(b)))
}

/// What deciding takes with a classifier, in nanoseconds.
fn cost(classified: &Classified) -> f64 {
    FUNCTION + classified.classifier.nanoseconds()
}

/// The longest runs of pure nodes within some nodes that are entered at their first only; one begins at each
/// of `begins`.
pub fn runs(
    filter: &FamilyFilter,
    nodes: &[Node],
    within: Range<usize>,
    begins: &[usize],
) -> Vec<Range<usize>> {
    // The first node from which each is reached, and whether the return stack leads there.
    let mut first_source: Vec<usize> = (0..nodes.len()).collect();
    let mut called = vec![false; nodes.len()];
    for (source, node) in nodes.iter().enumerate() {
        for flow in [node.hit, node.miss] {
            match flow {
                Flow::To(to) => first_source[to] = first_source[to].min(source),
                Flow::Call { to, back } => {
                    called[to] = true;
                    called[back] = true;
                }
                Flow::Return | Flow::Verdict(_) => {}
            }
        }
    }
    let mut runs: Vec<Range<usize>> = Vec::new();
    for index in within.filter(|&index| is_pure(filter, &nodes[index])) {
        let begins = called[index] || begins.contains(&index);
        match runs.last_mut() {
            Some(run) if run.end == index && !begins && first_source[index] >= run.start => {
                run.end = index + 1;
            }
            _ => runs.push(index..index + 1),
        }
    }
    runs
}
