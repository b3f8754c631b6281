//! Segments whose rules have changed a little, decided by the classifier that they had.
//!
//! A rule that comes or goes concerns only the packets that it matches or drops. All others are decided as they
//! were, by the arrays that are there already. So the function of the segment asks first whether a packet
//! is one of those, and sends them to copies of the rules that they can match, which are few.
//!
//! What was is known by a [`Record`]. The nodes of both are held against each other one by one: each that
//! stays must test and count the same, and lead to the same places when nodes that came or went are passed
//! by. Where anything else is different, there is a new classifier.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::record::{self, Goal, Record};
use super::region::{Parts, Region, affected};
use super::segments::{Decider, Gate, Segment, runs};
use super::{Flow, Node, NodeKind};
use crate::before::Before;
use crate::classify::outcome::Leave;
use crate::semantic::{FamilyFilter, Stage, Test};

/// Nodes of a segment that it is worth to keep a record of.
pub const WORTH_A_RECORD: usize = 512;
/// Rules that came or went since the classifier was made, at most: each is a test more for every packet.
const MOST_CHANGES: usize = 32;
/// Copies of rules for packets that are concerned, at most.
const MOST_COPIES: usize = 2048;

/// Finds the segments that can be decided as they were, and adds the nodes for the packets that cannot.
pub fn reuse(
    filter: &FamilyFilter,
    stage: Stage,
    nodes: &mut Vec<Node>,
    before: &Before,
    gone: Option<&FamilyFilter>,
) -> Vec<Segment> {
    let place = record::place_of(filter, stage);
    let records = before.records.iter().filter(|it| it.place == place);
    let records: Vec<&Record> = records.collect();
    if records.is_empty() {
        return Vec::new();
    }
    let gone = gone.map_or_else(HashMap::new, regions);
    let mut segments: Vec<Segment> = Vec::new();
    // From the last on, so that nodes added behind one do not move those in front.
    for run in runs(filter, nodes, 0..nodes.len(), &[]).into_iter().rev() {
        if run.len() < WORTH_A_RECORD {
            continue;
        }
        let mut found = records.iter().filter_map(|record| {
            let constants = before.constants.get(&record.map)?;
            let arrays = constants.get(record.start..record.start.checked_add(record.length)?)?;
            Changes::find(filter, nodes, &run, record, &gone)?.plan(arrays)
        });
        if let Some((segment, copies)) = found.next() {
            let moved = copies.len();
            for later in &mut segments {
                later.move_behind(run.end, moved);
            }
            insert(nodes, run.end, copies);
            segments.push(segment);
        }
    }
    segments
}

/// The packets that rules which are gone concern, by the rules' content.
fn regions(gone: &FamilyFilter) -> HashMap<u64, Test> {
    let mut regions = HashMap::new();
    for (chain, number) in gone.chains.iter().zip(0..) {
        for (index, rule) in chain.rules.iter().enumerate() {
            let kind = NodeKind::Rule(crate::semantic::ChainId(number), index);
            let (hit, miss) = (Flow::Return, Flow::Return);
            let content = record::content(gone, &Node { kind, hit, miss });
            if let Some(region) = affected(rule) {
                regions.insert(content, region);
            }
        }
    }
    regions
}

/// Puts nodes in front of one. Their flows are final; those of the others are not yet.
fn insert(nodes: &mut Vec<Node>, at: usize, copies: Vec<Node>) {
    for node in nodes.iter_mut() {
        node.hit = moved(node.hit, at, copies.len());
        node.miss = moved(node.miss, at, copies.len());
    }
    nodes.splice(at..at, copies);
}

/// A flow when nodes are put in front of one.
fn moved(flow: Flow, at: usize, by: usize) -> Flow {
    let place = |node: usize| if node >= at { node + by } else { node };
    match flow {
        Flow::To(to) => Flow::To(place(to)),
        Flow::Call { to, back } => Flow::Call {
            to: place(to),
            back: place(back),
        },
        other => other,
    }
}

/// What came and went in a segment.
struct Changes<'a> {
    filter: &'a FamilyFilter,
    nodes: &'a [Node],
    run: &'a Range<usize>,
    record: &'a Record,
    /// By node of the run: its number in the record, none for one that came.
    known: Vec<Option<usize>>,
    /// By node of the record that went: the packets that are concerned.
    gone: BTreeMap<usize, Test>,
    /// The packets that nodes which came concern.
    came: Vec<Test>,
}

impl<'a> Changes<'a> {
    fn find(
        filter: &'a FamilyFilter,
        nodes: &'a [Node],
        run: &'a Range<usize>,
        record: &'a Record,
        gone: &HashMap<u64, Test>,
    ) -> Option<Self> {
        let contents = nodes[run.clone()].iter();
        let contents: Vec<u64> = contents.map(|it| record::content(filter, it)).collect();
        let known = align(&contents, record)?;
        let mut stays = vec![false; record.nodes.len()];
        known
            .iter()
            .flatten()
            .for_each(|&index| stays[index] = true);
        let mut went = BTreeMap::new();
        for (index, node) in record.nodes.iter().enumerate() {
            if !stays[index] {
                let region = record.gone.get(&index).or_else(|| gone.get(&node.content));
                went.insert(index, region?.clone());
            }
        }
        let mut came = Vec::new();
        for (node, _) in nodes[run.clone()]
            .iter()
            .zip(&known)
            .filter(|it| it.1.is_none())
        {
            let NodeKind::Rule(chain, rule) = node.kind else {
                return None;
            };
            came.push(affected(&filter.chain(chain).rules[rule])?);
        }
        let changes = Changes {
            filter,
            nodes,
            run,
            record,
            known,
            gone: went,
            came,
        };
        (changes.reads_all() && changes.leads_alike()).then_some(changes)
    }

    /// Whether programs still read what the classifier looks at.
    fn reads_all(&self) -> bool {
        let read: HashSet<Test> = record::asks(self.filter, &self.nodes[self.run.clone()])
            .into_iter()
            .collect();
        self.record.asks.iter().all(|ask| read.contains(ask))
    }

    /// Whether all nodes that stay lead where they led, nodes that came or went passed by.
    fn leads_alike(&self) -> bool {
        let new = |index: usize| self.new_goal(Flow::To(self.run.start + index));
        let begins_alike = self.old_goal(Goal::Node(0), 0) == new(0);
        let mut known = self.known.iter().zip(self.run.clone());
        begins_alike
            && known.all(|(known, node)| {
                let Some(index) = *known else { return true };
                let (Some(old), node) = (self.record.nodes.get(index), &self.nodes[node]) else {
                    return false;
                };
                let goal = |number: u32| self.record.goals.get(number as usize).copied();
                let [Some(hit), Some(miss)] = [goal(old.hit), goal(old.miss)] else {
                    return false;
                };
                self.old_goal(hit, index) == self.new_goal(node.hit)
                    && self.old_goal(miss, index) == self.new_goal(node.miss)
            })
    }

    /// Where a goal of a node of the record leads, by the record's numbers, nodes that went passed by.
    fn old_goal(&self, mut goal: Goal, mut from: usize) -> Option<Goal> {
        loop {
            let to = match goal {
                Goal::Next => from + 1,
                Goal::Node(to) => to,
                out => return Some(out),
            };
            if !self.gone.contains_key(&to) {
                return Some(Goal::Node(to));
            }
            let miss = self.record.nodes.get(to)?.miss;
            goal = *self.record.goals.get(miss as usize)?;
            // All flows lead forward; a record where they do not is none.
            if to < from || (to == from && from != 0) {
                return None;
            }
            from = to;
        }
    }

    /// Where a flow of the nodes leads, by the record's numbers, nodes that came passed by.
    fn new_goal(&self, mut flow: Flow) -> Option<Goal> {
        loop {
            match flow {
                Flow::To(to) if self.run.contains(&to) => match self.known[to - self.run.start] {
                    Some(index) => return Some(Goal::Node(index)),
                    None => flow = self.nodes[to].miss,
                },
                out => {
                    let content = |node: usize| record::content(self.filter, &self.nodes[node]);
                    return Some(record::goal(out, usize::MAX - 1, &(0..0), content));
                }
            }
        }
    }

    /// The segment, and the copies of nodes for the packets that are concerned.
    fn plan(self, arrays: &[u8]) -> Option<(Segment, Vec<Node>)> {
        let mut regions: Vec<Region> = Vec::new();
        for test in self.came.iter().chain(self.gone.values()) {
            let region = Region::of(test.clone())?;
            if !regions.contains(&region) {
                regions.push(region);
            }
        }
        let (first, copies) = match regions.is_empty() {
            true => (None, Vec::new()),
            false => {
                let (first, copies) = self.copies(&regions)?;
                (Some(first), copies)
            }
        };
        let exits = self.exits(copies.len())?;
        let record = Record {
            gone: self.gone,
            ..self.record.clone()
        };
        let segment = Segment {
            nodes: self.run.clone(),
            decider: Decider::Known {
                record: Arc::new(record),
                arrays: arrays.into(),
                exits,
            },
            gate: first.map(|first| Gate {
                tests: regions.into_iter().map(Region::into_test).collect(),
                first,
            }),
        };
        Some((segment, copies))
    }

    /// The first node for packets of some regions, and copies of those that they can match, to stand behind
    /// the segment.
    fn copies(&self, regions: &[Region]) -> Option<(usize, Vec<Node>)> {
        let kept = self.concerned(regions);
        // Where a flow leads when nodes that no such packet can match are passed by.
        let lead = |mut flow: Flow| {
            while let Flow::To(to) = flow
                && self.run.contains(&to)
                && !kept.contains(&to)
            {
                flow = self.nodes[to].miss;
            }
            flow
        };
        let Flow::To(first) = lead(Flow::To(self.run.start)) else {
            return None;
        };
        let mut reached = BTreeSet::new();
        let mut open = vec![first];
        while let Some(index) = open.pop() {
            if self.run.contains(&index) && reached.insert(index) {
                let (hit, miss) = self.can(&self.nodes[index]);
                let flows = [
                    hit.then_some(self.nodes[index].hit),
                    miss.then_some(self.nodes[index].miss),
                ];
                for flow in flows.into_iter().flatten() {
                    if let Flow::To(to) = lead(flow) {
                        open.push(to);
                    }
                }
            }
        }
        if reached.len() > MOST_COPIES {
            return None;
        }
        let places: HashMap<usize, usize> = reached
            .iter()
            .zip(self.run.end..)
            .map(|(&node, place)| (node, place))
            .collect();
        let place = |flow: Flow| match lead(flow) {
            Flow::To(to) => match places.get(&to) {
                Some(&place) => Flow::To(place),
                None => moved(Flow::To(to), self.run.end, reached.len()),
            },
            other => moved(other, self.run.end, reached.len()),
        };
        let copies = reached.iter().map(|&index| {
            let Node { kind, hit, miss } = self.nodes[index];
            let (can_hit, can_miss) = self.can(&self.nodes[index]);
            // A flow that no packet takes stands for the other.
            let (hit, miss) = match (can_hit, can_miss) {
                (true, false) => (hit, hit),
                (false, _) => (miss, miss),
                (true, true) => (hit, miss),
            };
            Node {
                kind,
                hit: place(hit),
                miss: place(miss),
            }
        });
        let Flow::To(first) = place(Flow::To(first)) else {
            return None;
        };
        Some((first, copies.collect()))
    }

    /// Whether packets can match a node, and whether they can do so not.
    fn can(&self, node: &Node) -> (bool, bool) {
        match node.kind {
            NodeKind::Rule(chain, rule) => {
                let rule = &self.filter.chain(chain).rules[rule];
                (rule.can_hit(), rule.can_miss())
            }
            NodeKind::Policy(_) => (true, false),
        }
    }

    /// The nodes at which something can happen to packets of some regions.
    fn concerned(&self, regions: &[Region]) -> BTreeSet<usize> {
        let mut open: Vec<&Region> = regions.iter().collect();
        let mut kept = BTreeSet::new();
        let mut parts = Parts::default();
        // The farthest that packets can get without meeting what lies between.
        let mut farthest = self.run.start;
        for index in self.run.clone() {
            let node = &self.nodes[index];
            let NodeKind::Rule(chain, rule) = node.kind else {
                kept.insert(index);
                continue;
            };
            let rule = &self.filter.chain(chain).rules[rule];
            if open
                .iter()
                .all(|region| region.is_apart_from_rule(rule, &mut parts))
            {
                continue;
            }
            kept.insert(index);
            let is_met = farthest <= index;
            for flow in [node.hit, node.miss] {
                if let Flow::To(to) = flow
                    && self.run.contains(&to)
                {
                    farthest = farthest.max(to);
                }
            }
            let leaves = !matches!(node.hit, Flow::To(to) if self.run.contains(&to));
            if is_met
                && leaves
                && let Some(own) = affected(rule).and_then(Region::of)
            {
                open.retain(|region| !region.is_within(&own));
            }
        }
        kept
    }

    /// Where packets leave the segment when so many nodes are put behind it.
    fn exits(&self, more: usize) -> Option<Vec<Leave>> {
        let mut outside: HashMap<u64, Option<usize>> = HashMap::new();
        if self
            .record
            .exits
            .iter()
            .any(|it| matches!(it, Goal::Outside(..)))
        {
            for index in self.run.end..self.nodes.len() {
                let content = record::content(self.filter, &self.nodes[index]);
                let only = outside.entry(content).and_modify(|known| *known = None);
                only.or_insert(Some(index + more));
            }
        }
        let find = |content: &u64| outside.get(content).copied().flatten();
        let exits = self.record.exits.iter().map(|goal| {
            Some(match goal {
                Goal::Verdict(verdict) => Leave::Verdict(*verdict),
                Goal::Return => Leave::Return,
                Goal::Outside(content, None) => Leave::To {
                    node: find(content)?,
                    back: None,
                },
                Goal::Outside(content, Some(back)) => Leave::To {
                    node: find(content)?,
                    back: Some(find(back)?),
                },
                Goal::Next | Goal::Node(_) => return None,
            })
        });
        exits.collect()
    }
}

/// For each node the one of the record that it is; none when too many are others.
fn align(contents: &[u64], record: &Record) -> Option<Vec<Option<usize>>> {
    let old: Vec<u64> = record.nodes.iter().map(|node| node.content).collect();
    let same = |pair: &(&u64, &u64)| pair.0 == pair.1;
    let front = contents.iter().zip(&old).take_while(same).count();
    let rest = (&contents[front..], &old[front..]);
    let back = rest.0.iter().rev().zip(rest.1.iter().rev());
    let back = back.take_while(same).count();
    let (new_end, old_end) = (contents.len() - back, old.len() - back);
    let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, &content) in old.iter().enumerate().take(old_end).skip(front) {
        places.entry(content).or_default().push(index);
    }
    let mut known = Vec::with_capacity(contents.len());
    let mut next = front;
    for (index, content) in contents.iter().enumerate() {
        let place = match index {
            _ if index < front => Some(index),
            _ if index >= new_end => Some(index - new_end + old_end),
            _ => {
                let places = places.get(content).map_or(&[][..], Vec::as_slice);
                places.iter().copied().find(|&place| place >= next)
            }
        };
        if let Some(place) = place {
            next = place + 1;
        }
        known.push(place);
    }
    let staying = known.iter().flatten().count();
    let changes = (contents.len() - staying) + (old.len() - staying);
    (changes <= MOST_CHANGES).then_some(known)
}
