//! A function of rules: `u32 rules(context, struct packet *packet, u32 entry)`.
//!
//! It gives back [`DROP`], [`ACCEPT`] or the entry to go on at. R6 holds the packet, R9 the context. Rules that end the
//! function leave their counter in R7 and the result in R8 for the one tail that counts and returns.

use std::collections::HashMap;
use std::ops::Range;

use super::link::Calls;
use super::test::{PACKET, branch};
use crate::asm::{Alu, Code, Cond, FunctionId, Helper, Imm64, Label, MapId, Operand, Reg, Size};
use crate::field::{Field, layout};
use crate::plan::{ACCEPT, DROP, FIRST_ENTRY, Flow, MAX_DEPTH, Node, NodeKind, StagePlan};
use crate::routine::Routine;
use crate::semantic::{CounterId, End, FamilyFilter, Otherwise, Rule, Step, Verdict};

/// How counters are incremented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Plainly: nothing interrupts the program on its CPU to run another that counts.
    Plain,
    /// Atomically: cgroup programs run in process context, and softirqs interrupt them.
    Atomic,
}

/// R7 of a packet that leaves without being counted: no counter has this number.
const NO_COUNTER: i32 = -1;

/// What all functions of a stage are written from.
pub struct Stage<'a> {
    /// The chains.
    pub filter: &'a FamilyFilter,
    /// Their layout.
    pub plan: &'a StagePlan,
    /// Where packets are counted.
    pub counters: Counters,
    /// The functions of the rules' routines.
    pub calls: &'a Calls,
}

/// The context in a function of rules.
pub const CONTEXT: Reg = Reg::R9;

/// Where packets are counted, and how.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// The map.
    pub map: MapId,
    /// How its values are incremented.
    pub counting: Counting,
    /// The function that [`emit_count`] makes.
    pub function: FunctionId,
}

/// Writes `void count(struct packet *packet, u32 id)`: `counters[id].packets += 1; counters[id].bytes +=
/// length`. It is a function because the kernel rewrites each look-up when it loads a program, moving
/// all code behind it: thousands of them take seconds. Where a function counts once at its end, it does so
/// itself.
pub fn emit_count(map: MapId, counting: Counting) -> Code {
    let mut code = Code::default();
    code.line("count");
    code.mov(PACKET, Reg::R1);
    count_here(&mut code, map, counting, Reg::R2);
    code.mov(Reg::R0, 0);
    code.exit();
    code
}

/// Counts; R0 to R5 are lost.
pub fn count_here(code: &mut Code, map: MapId, counting: Counting, id: Reg) {
    code.store(Size::W, Reg::R10, -4, id);
    code.load_imm64(Reg::R1, Imm64::Map(map));
    code.mov(Reg::R2, Reg::R10);
    code.alu(Alu::Add, Reg::R2, -4);
    code.call(Helper::MapLookupElem);
    let none = code.label();
    code.branch(Cond::Eq, Reg::R0, 0, none);
    code.mov(Reg::R1, 1);
    add(code, counting, 0);
    code.load(Size::W, Reg::R1, PACKET, layout::LENGTH);
    add(code, counting, 8);
    code.bind(none);
}

/// `*(u64 *)(r0 + offset) += r1`
fn add(code: &mut Code, counting: Counting, offset: i16) {
    match counting {
        Counting::Atomic => code.atomic_add(Reg::R0, offset, Reg::R1),
        Counting::Plain => {
            code.load(Size::D, Reg::R2, Reg::R0, offset);
            code.alu(Alu::Add, Reg::R2, Reg::R1);
            code.store(Size::D, Reg::R0, offset, Reg::R2);
        }
    }
}

/// Calls the function that counts; R1 to R5 are lost.
pub fn count(code: &mut Code, count: FunctionId, id: Operand) {
    code.mov(Reg::R1, PACKET);
    code.alu32(Alu::Mov, Reg::R2, id);
    code.call_function(count);
}

/// Puts an entry on the return stack; R1 and R2 are lost. The plan has made sure that there is room; the
/// check is for the verifier.
pub fn push(code: &mut Code, plan: &StagePlan, entry: Operand, drop: Label) {
    code.load(Size::W, Reg::R1, PACKET, layout::DEPTH);
    let full = Operand::Imm(plan.depth.min(MAX_DEPTH) as i32);
    code.branch32(Cond::Ge, Reg::R1, full, drop);
    code.mov(Reg::R2, Reg::R1);
    code.alu(Alu::Lsh, Reg::R2, 1);
    code.alu(Alu::Add, Reg::R2, PACKET);
    code.store(Size::H, Reg::R2, layout::STACK, entry);
    code.alu32(Alu::Add, Reg::R1, 1);
    code.store(Size::W, PACKET, layout::DEPTH, Reg::R1);
}

/// R8 = the entry on top of the return stack, taken from there; R1 is lost.
pub fn pop(code: &mut Code, plan: &StagePlan, drop: Label) {
    code.load(Size::W, Reg::R1, PACKET, layout::DEPTH);
    code.alu32(Alu::Sub, Reg::R1, 1);
    // Also catches an empty stack, which the plan rules out: zero less one.
    let full = Operand::Imm(plan.depth.min(MAX_DEPTH) as i32);
    code.branch32(Cond::Ge, Reg::R1, full, drop);
    code.store(Size::W, PACKET, layout::DEPTH, Reg::R1);
    code.alu(Alu::Lsh, Reg::R1, 1);
    code.alu(Alu::Add, Reg::R1, PACKET);
    code.load(Size::H, Reg::R8, Reg::R1, layout::STACK);
}

/// Whether a function is told where to begin.
pub fn takes_entry(plan: &StagePlan, function: &Range<usize>) -> bool {
    entries_of(plan, function).len() > 1
}

/// The numbers of the entries in a function.
pub fn entries_of(plan: &StagePlan, function: &Range<usize>) -> Range<u32> {
    let number =
        |node: usize| FIRST_ENTRY + plan.entries.partition_point(|&entry| entry < node) as u32;
    number(function.start)..number(function.end)
}

/// Writes one of a stage's functions. With `may_be_null`, the packet pointer is checked as a global
/// function's must be.
pub fn emit(stage: &Stage<'_>, function: &Range<usize>, may_be_null: bool) -> Code {
    let mut writer = Writer {
        stage,
        function: function.clone(),
        code: Code::default(),
        nodes: HashMap::new(),
        drop: None,
        pop: None,
        finish: None,
        exits: Vec::new(),
        doomed: Vec::new(),
    };
    writer.head(may_be_null);
    for node in function.clone() {
        writer.node(node);
    }
    writer.tail();
    writer.code
}

struct Writer<'a> {
    stage: &'a Stage<'a>,
    function: Range<usize>,
    code: Code,
    nodes: HashMap<usize, Label>,
    /// Where the packet is dropped uncounted.
    drop: Option<Label>,
    /// Where R8 is taken from the return stack.
    pop: Option<Label>,
    /// Where R7 is counted and R8 returned.
    finish: Option<Label>,
    /// Where packets leave uncounted.
    exits: Vec<(Label, Exit)>,
    /// Where rules go on for packets that they drop in the end: the rule and its next step.
    doomed: Vec<(Label, &'a Rule, usize)>,
}

/// What an uncounted packet leaves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// This result.
    With(u32),
    /// The top of the return stack.
    Return,
}

impl Writer<'_> {
    fn head(&mut self, may_be_null: bool) {
        let code = &mut self.code;
        code.line(format!(
            "{}:",
            self.stage.filter.chain(self.stage.plan.stage.chain).name
        ));
        code.mov(CONTEXT, Reg::R1);
        code.mov(PACKET, Reg::R2);
        if may_be_null {
            let drop = self.drop_label();
            self.code.branch(Cond::Eq, PACKET, 0, drop);
        }
        if takes_entry(self.stage.plan, &self.function) {
            self.dispatch(entries_of(self.stage.plan, &self.function));
        }
    }

    /// Goes to the entry in R3, by bisection.
    fn dispatch(&mut self, entries: Range<u32>) {
        if entries.len() == 1 {
            let node = self.stage.plan.entries[(entries.start - FIRST_ENTRY) as usize];
            let label = self.node_label(node);
            // The last of the first node's ways falls through to it.
            if node != self.function.start {
                self.code.jump(label);
            }
            return;
        }
        let middle = entries.start + entries.len() as u32 / 2;
        let bound = Operand::Imm(middle as i32);
        let lower = self.code.label();
        self.code.branch32(Cond::Lt, Reg::R3, bound, lower);
        self.dispatch(middle..entries.end);
        self.code.bind(lower);
        self.dispatch(entries.start..middle);
    }

    fn node(&mut self, index: usize) {
        let label = self.node_label(index);
        self.code.bind(label);
        let node = self.stage.plan.nodes[index];
        let filter = self.stage.filter;
        match node.kind {
            NodeKind::Rule(chain, rule) => {
                let rule = &filter.chain(chain).rules[rule];
                self.code.line(rule.text.clone());
                // Labels are made for ways that are taken: unused code is refused.
                let miss = rule.can_miss().then(|| self.miss(node.miss));
                for (number, step) in rule.steps.iter().enumerate() {
                    match step {
                        Step::Ask(routine) => self.ask(routine),
                        Step::Doom(test) => {
                            let label = self.code.label();
                            branch(&mut self.code, test, true, label);
                            self.doomed.push((label, rule, number + 1));
                        }
                        Step::Check { test, otherwise } => {
                            let target = match (otherwise, miss) {
                                (Otherwise::NoMatch, Some(miss)) => miss,
                                _ => self.drop_label(),
                            };
                            branch(&mut self.code, test, false, target);
                        }
                    }
                }
                if rule.can_hit() {
                    self.hit_with(index, node, rule.counter, &rule.effects);
                }
            }
            NodeKind::Policy(counter) => {
                let chain = filter.chain(self.stage.plan.stage.chain);
                let policy = match chain.end {
                    End::Policy(Verdict::Drop, _) => "DROP",
                    _ => "ACCEPT",
                };
                self.code.line(format!(":{} {policy}", chain.name));
                self.hit_with(index, node, counter, &chain.effects);
            }
        }
    }

    /// What follows a match: count, do what else is to be done, and go where the node says.
    fn hit_with(&mut self, index: usize, node: Node, counter: CounterId, effects: &[Routine]) {
        if effects.is_empty() {
            return self.hit(index, node, counter.0);
        }
        if counter != CounterId::NONE {
            self.count(Operand::Imm(counter.0 as i32));
        }
        self.effects(effects);
        self.leave(index, node);
    }

    /// Counts and goes where the node says.
    fn hit(&mut self, index: usize, node: Node, counter: u32) {
        match node.hit {
            Flow::To(to) if self.function.contains(&to) => {
                self.count(Operand::Imm(counter as i32));
                self.go(index, to);
            }
            Flow::To(to) => self.finish(counter, self.entry(to)),
            Flow::Verdict(Verdict::Accept) => self.finish(counter, ACCEPT),
            Flow::Verdict(Verdict::Drop) => self.finish(counter, DROP),
            Flow::Return => {
                self.set(Reg::R7, counter as i32);
                let pop = self.pop_label();
                self.code.jump(pop);
            }
            Flow::Call { to, back } => {
                self.push(self.entry(back));
                match self.function.contains(&to) {
                    true => {
                        self.count(Operand::Imm(counter as i32));
                        self.go(index, to);
                    }
                    false => self.finish(counter, self.entry(to)),
                }
            }
        }
    }

    /// Calls the function of a routine.
    fn call(&mut self, routine: &Routine) {
        let (function, arguments) = self.stage.calls.of(routine);
        self.code.mov(Reg::R1, CONTEXT);
        self.code.mov(Reg::R2, PACKET);
        for (reg, &argument) in [Reg::R3, Reg::R4, Reg::R5].into_iter().zip(arguments) {
            self.set(reg, argument as i32);
        }
        self.code.call_function(function);
    }

    /// Calls the function of a routine for its answer.
    fn ask(&mut self, routine: &Routine) {
        self.call(routine);
        let answer = Field::Answer.place().offset;
        self.code.store(Size::W, PACKET, answer, Reg::R0);
    }

    /// The rest of a rule for a packet that is dropped whatever comes.
    fn doomed(&mut self, rule: &Rule, from: usize) {
        let drop = self.drop_label();
        for step in &rule.steps[from..] {
            match step {
                Step::Ask(routine) => self.ask(routine),
                Step::Check { test, .. } => branch(&mut self.code, test, false, drop),
                Step::Doom(_) => {}
            }
        }
        if rule.can_hit() {
            self.count(Operand::Imm(rule.counter.0 as i32));
            self.effects(&rule.effects);
            self.code.jump(drop);
        }
    }

    /// Effects, one after the other, until one drops the packet.
    fn effects(&mut self, effects: &[Routine]) {
        for effect in effects {
            self.call(effect);
            let drop = self.drop_label();
            self.code.branch32(Cond::Ne, Reg::R0, 0, drop);
        }
    }

    /// What follows a match that is counted already.
    fn leave(&mut self, index: usize, node: Node) {
        let to = match node.hit {
            Flow::Call { to, back } => {
                self.push(self.entry(back));
                Flow::To(to)
            }
            flow => flow,
        };
        match to {
            Flow::To(to) if self.function.contains(&to) => self.go(index, to),
            flow => {
                let label = self.miss(flow);
                self.code.jump(label);
            }
        }
    }

    /// Where a packet that does not match goes.
    fn miss(&mut self, flow: Flow) -> Label {
        match flow {
            Flow::To(to) if self.function.contains(&to) => self.node_label(to),
            Flow::To(to) => self.exit(Exit::With(self.entry(to))),
            Flow::Verdict(Verdict::Accept) => self.exit(Exit::With(ACCEPT)),
            Flow::Verdict(Verdict::Drop) => self.drop_label(),
            // Only a match calls.
            Flow::Return | Flow::Call { .. } => self.exit(Exit::Return),
        }
    }

    fn go(&mut self, from: usize, to: usize) {
        if to != from + 1 {
            let label = self.node_label(to);
            self.code.jump(label);
        }
    }

    fn finish(&mut self, counter: u32, result: u32) {
        self.set(Reg::R7, counter as i32);
        self.set(Reg::R8, result as i32);
        let finish = self.finish_label();
        self.code.jump(finish);
    }

    fn set(&mut self, reg: Reg, value: i32) {
        self.code.alu32(Alu::Mov, reg, value);
    }

    fn count(&mut self, id: Operand) {
        count(&mut self.code, self.stage.counters.function, id);
    }

    fn push(&mut self, entry: u32) {
        let drop = self.drop_label();
        let entry = Operand::Imm(entry as i32);
        push(&mut self.code, self.stage.plan, entry, drop);
    }

    fn tail(&mut self) {
        for (label, rule, from) in std::mem::take(&mut self.doomed) {
            self.code.line(rule.text.clone());
            self.code.bind(label);
            self.doomed(rule, from);
        }
        self.code.line("return");
        for (label, exit) in std::mem::take(&mut self.exits) {
            self.code.bind(label);
            match exit {
                Exit::Return => {
                    self.set(Reg::R7, NO_COUNTER);
                    let pop = self.pop_label();
                    self.code.jump(pop);
                }
                Exit::With(result) => {
                    self.set(Reg::R0, result as i32);
                    self.code.exit();
                }
            }
        }
        if let Some(label) = self.pop {
            let drop = self.drop_label();
            self.finish_label();
            self.code.bind(label);
            pop(&mut self.code, self.stage.plan, drop);
        }
        if let Some(finish) = self.finish {
            self.code.bind(finish);
            let Counters { map, counting, .. } = self.stage.counters;
            count_here(&mut self.code, map, counting, Reg::R7);
            self.code.mov(Reg::R0, Reg::R8);
            self.code.exit();
        }
        if let Some(drop) = self.drop {
            self.code.bind(drop);
            self.set(Reg::R0, DROP as i32);
            self.code.exit();
        }
    }

    fn entry(&self, node: usize) -> u32 {
        self.stage.plan.entry(node)
    }

    fn node_label(&mut self, node: usize) -> Label {
        *self.nodes.entry(node).or_insert_with(|| self.code.label())
    }

    fn exit(&mut self, exit: Exit) -> Label {
        match self.exits.iter().find(|known| known.1 == exit) {
            Some(&(label, _)) => label,
            None => {
                let label = self.code.label();
                self.exits.push((label, exit));
                label
            }
        }
    }

    fn drop_label(&mut self) -> Label {
        *self.drop.get_or_insert_with(|| self.code.label())
    }

    fn pop_label(&mut self) -> Label {
        *self.pop.get_or_insert_with(|| self.code.label())
    }

    fn finish_label(&mut self) -> Label {
        *self.finish.get_or_insert_with(|| self.code.label())
    }
}
