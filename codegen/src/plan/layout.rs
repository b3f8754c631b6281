//! The order of the nodes: rules in the order of their chain, a copied chain behind the rule that enters it.

use std::collections::HashMap;

use super::calls::CallGraph;
use super::{Flow, Node, NodeKind};
use crate::semantic::{Action, ChainId, End, FamilyFilter, Verdict};

/// A place in a copy of a chain; bound to a node when that is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Point(usize);

/// Where a packet goes, in points.
#[derive(Clone, Copy, Debug)]
enum Goal {
    To(Point),
    Call { to: Point, back: Point },
    Return,
    Verdict(Verdict),
}

/// A copy of a chain: where its rules are, and what follows its end.
#[derive(Clone, Copy, Debug)]
struct Copy {
    chain: ChainId,
    first: Point,
    end: Goal,
}

pub struct Layout<'a> {
    filter: &'a FamilyFilter,
    nodes: Vec<(NodeKind, Goal, Goal)>,
    points: Vec<Option<usize>>,
    /// The first points of the chains that exist once.
    shared: HashMap<ChainId, Copy>,
    /// Copies whose rules are still to be laid out, with the next one; the last is in work.
    open: Vec<(Copy, usize)>,
}

impl<'a> Layout<'a> {
    pub fn new(filter: &'a FamilyFilter, graph: &CallGraph<'_>, root: ChainId) -> Self {
        let mut layout = Layout {
            filter,
            nodes: Vec::new(),
            points: Vec::new(),
            shared: HashMap::new(),
            open: Vec::new(),
        };
        // Last in, first laid out: the root, then the shared chains, callers before callees.
        for &chain in graph.order.iter().rev() {
            if chain != root && !graph.is_copied(chain) {
                let copy = layout.copy(chain, Goal::Return);
                layout.shared.insert(chain, copy);
                layout.open.push((copy, 0));
            }
        }
        let policy = layout.point();
        let root = layout.copy(root, Goal::To(policy));
        layout.open.push((root, 0));
        layout
    }

    fn point(&mut self) -> Point {
        self.points.push(None);
        Point(self.points.len() - 1)
    }

    fn copy(&mut self, chain: ChainId, end: Goal) -> Copy {
        let first = Point(self.points.len());
        let rules = self.filter.chain(chain).rules.len();
        self.points.resize(self.points.len() + rules, None);
        Copy { chain, first, end }
    }

    /// The place of a rule in a copy, or what follows the last.
    fn at(&self, copy: Copy, rule: usize) -> Goal {
        match rule < self.filter.chain(copy.chain).rules.len() {
            true => Goal::To(Point(copy.first.0 + rule)),
            false => copy.end,
        }
    }

    pub fn run(&mut self) {
        while let Some((copy, rule)) = self.open.pop() {
            let chain = self.filter.chain(copy.chain);
            match (chain.rules.get(rule), chain.end, copy.end) {
                (Some(_), _, _) => {
                    self.open.push((copy, rule + 1));
                    self.rule(copy, rule);
                }
                (None, End::Policy(verdict, counter), Goal::To(point)) => {
                    self.points[point.0] = Some(self.nodes.len());
                    let goal = Goal::Verdict(verdict);
                    self.nodes.push((NodeKind::Policy(counter), goal, goal));
                }
                (None, _, _) => {}
            }
        }
    }

    fn rule(&mut self, copy: Copy, index: usize) {
        self.points[copy.first.0 + index] = Some(self.nodes.len());
        let node = self.nodes.len();
        let miss = self.at(copy, index + 1);
        let kind = NodeKind::Rule(copy.chain, index);
        self.nodes.push((kind, miss, miss));
        self.nodes[node].1 = match self.filter.chain(copy.chain).rules[index].action {
            Action::Continue => miss,
            Action::Verdict(verdict) => Goal::Verdict(verdict),
            Action::Return => copy.end,
            Action::Jump(chain) => self.enter(chain, miss),
            Action::Goto(chain) => self.enter(chain, copy.end),
        };
    }

    /// Into a chain, and on to `end` behind it.
    fn enter(&mut self, chain: ChainId, end: Goal) -> Goal {
        let Some(&shared) = self.shared.get(&chain) else {
            let copy = self.copy(chain, end);
            self.open.push((copy, 0));
            return self.at(copy, 0);
        };
        match (self.at(shared, 0), end) {
            (Goal::To(to), Goal::To(back)) => Goal::Call { to, back },
            // Nothing left to do here: the chain returns straight to our caller.
            (to, Goal::Return) => to,
            (_, end) => end,
        }
    }

    pub fn resolve(self) -> Vec<Node> {
        // Every point is bound once all copies are laid out.
        let node = |point: Point| self.points[point.0].unwrap_or_default();
        let flow = |goal: Goal| match goal {
            Goal::To(point) => Flow::To(node(point)),
            Goal::Call { to, back } => Flow::Call {
                to: node(to),
                back: node(back),
            },
            Goal::Return => Flow::Return,
            Goal::Verdict(verdict) => Flow::Verdict(verdict),
        };
        let nodes = self.nodes.iter();
        nodes
            .map(|&(kind, hit, miss)| Node {
                kind,
                hit: flow(hit),
                miss: flow(miss),
            })
            .collect()
    }
}
