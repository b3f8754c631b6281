//! The plan: in which order the rules of a stage stand in the program, which chains are copied into
//! their callers, and where functions begin and end.
//!
//! A stage becomes a list of [`Node`]s, one for each copy of a rule and one for the policy, joined by
//! [`Flow`]s. All flows lead forward, except that [`Flow::Return`] takes its goal from the return stack.
//!
//! A chain with one caller is copied into it, and so is every other chain as long as the program stays
//! small. A chain that is not copied exists once; who jumps to it pushes the place to come back to on
//! the packet's return stack. BPF has no indirect jump and calls eight frames deep at most, so
//! functions give back the *entry* to go on at, and the program calls the function which that is in:
//! chains may nest as deep as they like, and a ruleset whose chains join in 2^19 paths is as long as its
//! text.
//!
//! Runs of rules where nothing happens but tests and counting are decided by a classifier where that is
//! faster (see [`classify`](crate::classify)), in a function of their own; the others are tried one after
//! the other.

mod calls;
mod layout;
pub mod record;
mod region;
pub mod reuse;
mod segments;

use std::ops::Range;

use crate::emit::weight;
use crate::options::{KernelVersion, Options};
use crate::semantic::{ChainId, CounterId, FamilyFilter, Stage, Verdict};
use calls::CallGraph;
use layout::Layout;
use segments::segments;
pub use segments::{Decider, Gate, Segment, straight_nanoseconds};

/// Programs whose chains, all copied, have no more rules than this are copied whole.
const COPY_ALL: u64 = 4096;
/// Else a chain with several callers is copied if it has no more rules than this.
const COPY_SMALL: u64 = 8;
/// Conditional branches of a function: the verifier keeps at most 8,192 pending
/// (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`, kernel/bpf/verifier.c).
const MAX_BRANCHES: usize = 3000;
/// Instructions of a function: jumps reach 32,767 far.
const MAX_INSTRUCTIONS: usize = 20_000;
/// Nested calls of chains that are not copied: the return stack lies on the program's 512 bytes.
pub const MAX_DEPTH: usize = 32;
/// The same where functions with stacks of their own are called, for routines and tracking.
const MAX_DEPTH_OF_CALLERS: usize = 8;
/// Entries are kept in 16 bits.
const MAX_ENTRIES: usize = 65_000;
/// How often `bpf_loop` runs at most (`BPF_MAX_LOOPS`, kernel/bpf/bpf_iter.c).
const MAX_TURNS: u64 = 1 << 23;

/// What a function gives back for a dropped packet.
pub const DROP: u32 = 0;
/// What a function gives back for a packet that its table accepts.
pub const ACCEPT: u32 = 1;
/// The first number that stands for an entry.
pub const FIRST_ENTRY: u32 = 2;

/// One stage, laid out.
#[derive(Clone, Debug)]
pub struct StagePlan {
    /// The stage.
    pub stage: Stage,
    /// All rules and the policy, in the order of the code.
    pub nodes: Vec<Node>,
    /// The nodes of each function; contiguous.
    pub functions: Vec<Range<usize>>,
    /// What is decided by classifiers: the nodes of a function each.
    pub segments: Vec<Segment>,
    /// The nodes where a function may be entered, in order: entry [`FIRST_ENTRY`] + index.
    pub entries: Vec<usize>,
    /// How many return places may be on the stack at once.
    pub depth: usize,
    /// How often the program must look for the function to go on in; 1 when nothing returns through the
    /// stack.
    pub turns: u32,
}

impl StagePlan {
    /// The classifier of a function.
    pub fn segment(&self, function: &Range<usize>) -> Option<&Segment> {
        let mut segments = self.segments.iter();
        segments.find(|segment| segment.nodes == *function)
    }

    /// The entry number of a node, which must be in [`StagePlan::entries`].
    pub fn entry(&self, node: usize) -> u32 {
        FIRST_ENTRY + self.entries.partition_point(|&entry| entry < node) as u32
    }

    /// The nodes that are code of their own.
    pub fn straight_nodes(&self) -> impl Iterator<Item = &Node> {
        let straight = self
            .functions
            .iter()
            .filter(|it| self.segment(it).is_none());
        straight.flat_map(|function| &self.nodes[function.clone()])
    }
}

/// A copy of a rule, or the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// What is tested and counted here.
    pub kind: NodeKind,
    /// Where a matching packet goes.
    pub hit: Flow,
    /// Where another goes.
    pub miss: Flow,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A rule by chain and index.
    Rule(ChainId, usize),
    /// The policy: every packet hits.
    Policy(CounterId),
}

/// Where a packet goes from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On to a node.
    To(usize),
    /// Into a chain, to come back.
    Call {
        /// The chain's first node.
        to: usize,
        /// Where to go on afterwards.
        back: usize,
    },
    /// To the place on top of the return stack.
    Return,
    /// Out of the table.
    Verdict(Verdict),
}

/// Why a stage cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The return stack would be too deep.
    #[error(
        "user chains with several callers nest {depth} deep behind {chain}, and such programs have room for \
         {room}"
    )]
    TooDeep {
        /// The built-in chain.
        chain: String,
        /// How deep.
        depth: usize,
        /// How deep they may.
        room: usize,
    },
    /// A packet could go through more chains than a program may turn to.
    #[error(
        "a packet could return from chains {turns} times behind {chain}, and programs may {MAX_TURNS} times"
    )]
    TooLong {
        /// The built-in chain.
        chain: String,
        /// How often.
        turns: u64,
    },
    /// Functions would have more entries than the return stack can name.
    #[error(
        "{chain} calls chains with several callers from {entries} places, and programs can name 65,000"
    )]
    TooManyEntries {
        /// The built-in chain.
        chain: String,
        /// How many.
        entries: usize,
    },
    /// The target kernel lacks what chains with several callers need.
    #[error(
        "user chains with several callers make {chain} too large to copy them, and kernel {kernel} has no \
         bpf_loop to call them with"
    )]
    NeedsLoop {
        /// The built-in chain.
        chain: String,
        /// The target kernel.
        kernel: KernelVersion,
    },
}

/// Lays out a stage of a simplified filter; `gone` has the rules that are there no more.
pub fn plan(
    filter: &FamilyFilter,
    stage: Stage,
    gone: Option<&FamilyFilter>,
    options: &Options,
) -> Result<StagePlan, PlanError> {
    let graph = CallGraph::new(filter, stage.chain);
    let name = || filter.chain(stage.chain).name.clone();
    let mut layout = Layout::new(filter, &graph, stage.chain);
    layout.run();
    let mut nodes = prune(filter, layout.resolve());
    let known = match &options.before {
        Some(before) => reuse::reuse(filter, stage, &mut nodes, before, gone),
        None => Vec::new(),
    };
    let segments = segments(filter, &nodes, known, options);
    let functions = cut(filter, &nodes, &segments);
    let entries = entries(&nodes, &functions, &segments);
    let calls = nodes
        .iter()
        .any(|node| matches!(node.hit, Flow::Call { .. }));
    let (depth, turns) = match calls {
        true => (graph.depth(stage.chain), graph.turns(stage.chain)),
        false => (0, 1),
    };
    let has_callees = filter.tracking.is_some() || filter.routines().next().is_some();
    let room = match has_callees {
        true => MAX_DEPTH_OF_CALLERS,
        false => MAX_DEPTH,
    };
    if depth > room {
        return Err(PlanError::TooDeep {
            chain: name(),
            depth,
            room,
        });
    }
    if turns > MAX_TURNS {
        return Err(PlanError::TooLong {
            chain: name(),
            turns,
        });
    }
    if entries.len() > MAX_ENTRIES {
        return Err(PlanError::TooManyEntries {
            chain: name(),
            entries: entries.len(),
        });
    }
    let kernel = options.target_kernel;
    if let Some(kernel) = kernel.filter(|kernel| calls && *kernel < KernelVersion::LOOP) {
        return Err(PlanError::NeedsLoop {
            chain: name(),
            kernel,
        });
    }
    Ok(StagePlan {
        stage,
        nodes,
        functions,
        segments,
        entries,
        depth,
        turns: turns as u32,
    })
}

/// Takes out the nodes that no packet reaches: the verifier refuses code that is never run.
fn prune(filter: &FamilyFilter, nodes: Vec<Node>) -> Vec<Node> {
    let flows = |node: &Node| -> [Option<Flow>; 2] {
        let (hit, miss) = match node.kind {
            NodeKind::Rule(chain, rule) => {
                let rule = &filter.chain(chain).rules[rule];
                (rule.can_hit(), rule.can_miss())
            }
            NodeKind::Policy(_) => (true, false),
        };
        [hit.then_some(node.hit), miss.then_some(node.miss)]
    };
    let mut reached = vec![false; nodes.len()];
    let mut open = vec![0];
    while let Some(index) = open.pop() {
        if !std::mem::replace(&mut reached[index], true) {
            for flow in flows(&nodes[index]).into_iter().flatten() {
                match flow {
                    Flow::To(to) => open.push(to),
                    Flow::Call { to, back } => open.extend([to, back]),
                    Flow::Return | Flow::Verdict(_) => {}
                }
            }
        }
    }
    let mut kept = 0;
    let numbers: Vec<usize> = reached
        .iter()
        .map(|&reached| {
            kept += usize::from(reached);
            kept.saturating_sub(1)
        })
        .collect();
    let renumber = |flow: Flow| match flow {
        Flow::To(to) => Flow::To(numbers[to]),
        Flow::Call { to, back } => Flow::Call {
            to: numbers[to],
            back: numbers[back],
        },
        other => other,
    };
    let nodes = nodes.iter().zip(&reached).filter(|(_, reached)| **reached);
    nodes
        .map(|(node, _)| {
            // A flow that no packet takes stands for the other.
            let (hit, miss) = match flows(node) {
                [Some(hit), Some(miss)] => (hit, miss),
                [Some(only), None] | [None, Some(only)] => (only, only),
                [None, None] => (Flow::Verdict(Verdict::Drop), Flow::Verdict(Verdict::Drop)),
            };
            Node {
                kind: node.kind,
                hit: renumber(hit),
                miss: renumber(miss),
            }
        })
        .collect()
}

/// Cuts the nodes into segments, and the rest into functions that the verifier and 16-bit jumps can bear.
fn cut(filter: &FamilyFilter, nodes: &[Node], segments: &[Segment]) -> Vec<Range<usize>> {
    let mut functions = Vec::new();
    let mut start = 0;
    for Segment { nodes: run, .. } in segments {
        cut_straight(filter, nodes, start..run.start, &mut functions);
        functions.push(run.clone());
        start = run.end;
    }
    cut_straight(filter, nodes, start..nodes.len(), &mut functions);
    functions
}

fn cut_straight(
    filter: &FamilyFilter,
    nodes: &[Node],
    run: Range<usize>,
    functions: &mut Vec<Range<usize>>,
) {
    let mut start = run.start;
    let mut total = weight::Weight::default();
    for index in run.clone() {
        let own = weight::of(filter, &nodes[index]);
        let sum = total + own;
        if index > start && (sum.branches > MAX_BRANCHES || sum.instructions > MAX_INSTRUCTIONS) {
            functions.push(start..index);
            start = index;
            total = own;
        } else {
            total = sum;
        }
    }
    if start < run.end {
        functions.push(start..run.end);
    }
}

/// The nodes that are come to from another function or through the return stack, and the first.
fn entries(nodes: &[Node], functions: &[Range<usize>], segments: &[Segment]) -> Vec<usize> {
    let gates = segments.iter().filter_map(|it| it.gate.as_ref());
    let mut entries = vec![0];
    entries.extend(gates.map(|gate| gate.first));
    for function in functions {
        for node in &nodes[function.clone()] {
            for flow in [node.hit, node.miss] {
                match flow {
                    Flow::To(to) => entries.extend((!function.contains(&to)).then_some(to)),
                    Flow::Call { to, back } => {
                        entries.extend((!function.contains(&to)).then_some(to));
                        entries.push(back);
                    }
                    Flow::Return | Flow::Verdict(_) => {}
                }
            }
        }
    }
    entries.sort_unstable();
    entries.dedup();
    entries
}
