//! What happens to a packet in a segment as a whole: which counters it moves, and where it leaves.
//!
//! The nodes that a packet meets follow from the marks that it is in, so the walk over the nodes is done when
//! the program is made: rules that only count, jumps into chains and returns from them cost nothing at run
//! time but their counters. An outcome is a `u32` in the tables: the counter in the low 24 bits and the number
//! of the exit in the high 8, or, for what does not fit that, the place of a record.

use foldhash::HashMap;

use super::problem::Problem;
use crate::semantic::{CounterId, Verdict};

/// The bits of an outcome's word that hold the counter.
pub const COUNTER_BITS: u32 = 24;
/// The counter of a word that counts nothing.
pub const NOTHING: u32 = (1 << COUNTER_BITS) - 1;
/// The exit of a word whose low bits are the place of a record, in words.
pub const RECORD: u32 = 0xff;
/// Counters that one packet may move in a segment, at most.
pub const MAX_COUNTERS: usize = 32;
/// Words that come before the counters of a record: the exit's number, and how many counters follow.
pub const RECORD_HEAD: usize = 2;

/// Where a packet goes from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What is counted.
    pub counter: CounterId,
    /// Where it goes then.
    pub to: Goal,
}

/// A place to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A node of the segment.
    Node(usize),
    /// Out of it.
    Leave(Leave),
}

/// How a packet leaves a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leave {
    /// Out of the table.
    Verdict(Verdict),
    /// To a node of the plan, behind the return place of another when there is one.
    To {
        /// Where it goes.
        node: usize,
        /// Where it will come back.
        back: Option<usize>,
    },
    /// To the place on top of the return stack.
    Return,
}

impl Way {
    /// Dropped at once, uncounted.
    pub const DROP: Way = Way {
        counter: CounterId::NONE,
        to: Goal::Leave(Leave::Verdict(Verdict::Drop)),
    };
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// The counters that it moves, in order.
    pub counters: Vec<CounterId>,
    /// How it leaves.
    pub leave: Leave,
}

/// Finds the outcomes of a problem.
pub struct Walk<'a> {
    problem: &'a Problem,
    /// Nodes whose misses lead elsewhere than to the next node, and the last.
    odd: Vec<usize>,
}

impl<'a> Walk<'a> {
    /// Of this problem.
    pub fn new(problem: &'a Problem) -> Self {
        let last = problem.misses.len().saturating_sub(1);
        let odd = |&node: &usize| node == last || problem.misses[node].to != Goal::Node(node + 1);
        Walk {
            problem,
            odd: (0..problem.misses.len()).filter(odd).collect(),
        }
    }

    /// Whether the first mark of a packet alone tells its outcome: every match leaves the segment, and who
    /// matches nothing goes through it to the end.
    pub fn first_mark_decides(&self) -> bool {
        let mut marks = self.problem.marks.iter();
        self.odd.len() <= 1 && marks.all(|mark| matches!(mark.way.to, Goal::Leave(_)))
    }

    /// What happens to a packet that is in these marks, in rising order, and in no other.
    pub fn outcome(&self, marks: &[usize]) -> Outcome {
        let mut counters = Vec::new();
        let mut node = 0;
        let mut rest = marks.iter().copied().peekable();
        loop {
            let problem = self.problem;
            while rest
                .next_if(|&mark| problem.marks[mark].node < node)
                .is_some()
            {}
            // Nothing happens before the next mark or odd miss. All flows lead forward, and the last node is
            // odd.
            let odd = self.odd[self.odd.partition_point(|&odd| odd < node)];
            let way = match rest.peek() {
                Some(&mark) if problem.marks[mark].node <= odd => problem.marks[mark].way,
                _ => problem.misses[odd],
            };
            if way.counter != CounterId::NONE {
                counters.push(way.counter);
            }
            match way.to {
                Goal::Node(next) => node = next,
                Goal::Leave(leave) => return Outcome { counters, leave },
            }
        }
    }

    /// Whether each mark is one that a packet in it cannot pass by: it leaves there, unless it left before.
    pub fn ends(&self) -> Vec<bool> {
        let problem = self.problem;
        let ways = problem.marks.iter().map(|mark| (mark.node, mark.way));
        let misses = problem.misses.iter().copied().enumerate();
        // The farthest that one can get from each node without meeting those between.
        let mut reach = vec![0; problem.misses.len()];
        for (node, way) in ways.chain(misses) {
            if let Goal::Node(to) = way.to {
                reach[node] = reach[node].max(to);
            }
        }
        let mut farthest = 0;
        let met: Vec<bool> = reach
            .iter()
            .enumerate()
            .map(|(node, &reach)| {
                let met = farthest <= node;
                farthest = farthest.max(reach);
                met
            })
            .collect();
        let marks = problem.marks.iter();
        marks
            .map(|mark| met[mark.node] && matches!(mark.way.to, Goal::Leave(_)))
            .collect()
    }
}

/// The outcomes of a segment and their words.
#[derive(Clone, Debug)]
pub struct Outcomes {
    exits: Vec<Leave>,
    /// The number of each exit.
    numbers: HashMap<Leave, u32>,
    records: Vec<u32>,
    /// The words of the outcomes that have records.
    recorded: HashMap<Outcome, u32>,
    most_counters: usize,
}

impl Default for Outcomes {
    fn default() -> Self {
        let mut outcomes = Outcomes {
            exits: Vec::new(),
            numbers: HashMap::default(),
            records: Vec::new(),
            recorded: HashMap::default(),
            most_counters: 0,
        };
        // In the order of the numbers that a function of rules gives back for them.
        for verdict in [Verdict::Drop, Verdict::Accept] {
            outcomes.exit(Leave::Verdict(verdict));
        }
        outcomes
    }
}

impl Outcomes {
    /// The word of an outcome; none when there is no way to write it.
    pub fn word(&mut self, counters: &[CounterId], leave: Leave) -> Option<u32> {
        let exit = self.exit(leave);
        match counters {
            [] if exit < RECORD => Some(exit << COUNTER_BITS | NOTHING),
            &[CounterId(only)] if exit < RECORD && only < NOTHING => {
                Some(exit << COUNTER_BITS | only)
            }
            counters => self.record(counters, leave, exit),
        }
    }

    /// The word of an outcome that has a record.
    fn record(&mut self, counters: &[CounterId], leave: Leave, exit: u32) -> Option<u32> {
        let outcome = Outcome {
            counters: counters.to_vec(),
            leave,
        };
        if let Some(&word) = self.recorded.get(&outcome) {
            return Some(word);
        }
        if counters.len() > MAX_COUNTERS || self.records.len() >= NOTHING as usize {
            return None;
        }
        let word = RECORD << COUNTER_BITS | self.records.len() as u32;
        self.records.extend([exit, counters.len() as u32]);
        self.records
            .extend(counters.iter().map(|counter| counter.0));
        self.most_counters = self.most_counters.max(counters.len());
        self.recorded.insert(outcome, word);
        Some(word)
    }

    fn exit(&mut self, leave: Leave) -> u32 {
        *self.numbers.entry(leave).or_insert_with(|| {
            self.exits.push(leave);
            self.exits.len() as u32 - 1
        })
    }

    /// The ways out, by their numbers: drop and accept first.
    pub fn exits(&self) -> &[Leave] {
        &self.exits
    }

    /// The records: the number of the exit, that of the counters, and these.
    pub fn records(&self) -> &[u32] {
        &self.records
    }

    /// The most counters of a record.
    pub fn most_counters(&self) -> usize {
        self.most_counters
    }

    /// What a word says.
    pub fn read(&self, word: u32) -> Outcome {
        let (exit, low) = (word >> COUNTER_BITS, word & NOTHING);
        let counter = |&counter: &u32| CounterId(counter);
        if exit != RECORD {
            let counted = Some(low).filter(|&low| low != NOTHING);
            return Outcome {
                counters: counted.iter().map(counter).collect(),
                leave: self.exits[exit as usize],
            };
        }
        let record = &self.records[low as usize..];
        Outcome {
            counters: record[RECORD_HEAD..][..record[1] as usize]
                .iter()
                .map(counter)
                .collect(),
            leave: self.exits[record[0] as usize],
        }
    }
}
