//! A function of rules that are decided together: `u32 rules(context, struct packet *packet)`.
//!
//! The classifier leaves the word of the packet's outcome in R8 (see
//! [`outcome`](crate::classify::outcome)). What it says is data: which counters are moved, and what the
//! function gives back. So the code is the same for any number of rules.

use super::rules::{self, CONTEXT, Counters, Stage};
use super::test::{self, PACKET};
use crate::asm::{Alu, Code, Cond, Imm64, Label, MapId, Op, Operand, Reg, Size};
use std::collections::BTreeMap;

use crate::classify::Classified;
use crate::classify::data::Place;
use crate::classify::outcome::{COUNTER_BITS, Leave, NOTHING, RECORD, RECORD_HEAD};
use crate::module::{CLASSES_MAP, Map, MapKind};
use crate::options::MAX_VALUE;
use crate::plan::record::{self, Goal, Goals, KnownNode, Record};
use crate::plan::reuse::WORTH_A_RECORD;
use crate::plan::{ACCEPT, DROP, Decider, Gate, NodeKind, Segment};
use crate::semantic::Verdict;

/// Bytes of a cache line.
const LINE: usize = 64;
/// What an exit gives back for a packet that goes to the place on top of the return stack.
const POP: u32 = u32::MAX;
/// Bytes of an exit: what the function gives back, and what goes on the return stack, or 0.
const EXIT: u32 = 8;

/// Writes the function of a segment, and its arrays into one of the maps for them. The record is for rules
/// that will take the place of these, where such are expected.
pub fn emit(
    stage: &Stage<'_>,
    segment: &Segment,
    may_be_null: bool,
    keeps_record: bool,
    maps: &mut Vec<Map>,
) -> (Code, Option<Record>) {
    let (mut data, exits, records) = match &segment.decider {
        Decider::New(classified) => {
            let outcomes = &classified.outcomes;
            let mut data = classified.classifier.data().bytes().to_vec();
            // A record cut short by the end of its array still has as many counters as the longest.
            let spare = std::iter::repeat_n(0, RECORD_HEAD + outcomes.most_counters());
            let words = outcomes.records().iter().copied().chain(spare);
            let records = Records {
                offset: words_at_end(&mut data, words),
                length: outcomes.records().len() as u32,
                most_counters: outcomes.most_counters(),
            };
            (data, outcomes.exits(), records)
        }
        Decider::Known {
            record,
            arrays,
            exits,
        } => {
            let records = Records {
                offset: record.records,
                length: record.record_words,
                most_counters: record.most_counters,
            };
            (arrays.to_vec(), exits.as_slice(), records)
        }
    };
    let length = data.len();
    let ways: Vec<(u32, u32)> = exits
        .iter()
        .map(|exit| match *exit {
            Leave::Verdict(Verdict::Drop) => (DROP, 0),
            Leave::Verdict(Verdict::Accept) => (ACCEPT, 0),
            Leave::To { node, back } => (
                stage.plan.entry(node),
                back.map_or(0, |back| stage.plan.entry(back)),
            ),
            Leave::Return => (POP, 0),
        })
        .collect();
    let table = words_at_end(
        &mut data,
        ways.iter().flat_map(|&(result, push)| [result, push]),
    );
    let (map, start) = keep(data, maps);
    let mut code = Code::default();
    let escape = code.label();
    let mut writer = Writer {
        stage,
        code,
        place: Place { map, start, escape },
        records,
        table,
        exits: ways,
    };
    writer.head(segment, may_be_null);
    let concerned = segment.gate.as_ref().map(|gate| writer.gate(gate));
    match &segment.decider {
        Decider::New(classified) => classified.classifier.emit(&mut writer.code, writer.place),
        Decider::Known { record, .. } => record.emit(&mut writer.code, writer.place),
    }
    writer.perform();
    if let (Some(concerned), Some(gate)) = (concerned, &segment.gate) {
        writer.code.bind(concerned);
        let first = stage.plan.entry(gate.first);
        writer.code.alu32(Alu::Mov, Reg::R0, first as i32);
        writer.code.exit();
    }
    let place = |record: Record| {
        let map = maps.get(usize::from(map.0))?.name.clone();
        Some(Record {
            map,
            start: start as usize,
            length,
            ..record
        })
    };
    let record = match &segment.decider {
        Decider::New(classified) if keeps_record && segment.nodes.len() >= WORTH_A_RECORD => {
            Some(record(stage, segment, classified, writer.records))
        }
        Decider::New(_) => None,
        Decider::Known { record, .. } => keeps_record.then(|| record.as_ref().clone()),
    };
    (writer.code, record.and_then(place))
}

/// What is to be known of a new classifier later.
fn record(
    stage: &Stage<'_>,
    segment: &Segment,
    classified: &Classified,
    records: Records,
) -> Record {
    let (filter, plan, run) = (stage.filter, stage.plan, &segment.nodes);
    let content = |node: usize| record::content(filter, &plan.nodes[node]);
    let mut goals = Goals::default();
    let nodes = run.clone().map(|index| {
        let node = &plan.nodes[index];
        let mut number = |flow| goals.number(record::goal(flow, index, run, content));
        KnownNode {
            content: content(index),
            hit: number(node.hit),
            miss: number(node.miss),
        }
    });
    let nodes = nodes.collect();
    let mut code = Code::default();
    let escape = code.label();
    let place = Place {
        map: MapId(0),
        start: 0,
        escape,
    };
    classified.classifier.emit(&mut code, place);
    let exits = classified.outcomes.exits().iter().map(|exit| match *exit {
        Leave::Verdict(verdict) => Goal::Verdict(verdict),
        Leave::To { node, back } => Goal::Outside(content(node), back.map(content)),
        Leave::Return => Goal::Return,
    });
    Record {
        place: record::place_of(filter, plan.stage),
        nodes,
        goals: goals.all(),
        asks: record::asks(filter, &plan.nodes[run.clone()]),
        gone: BTreeMap::new(),
        code: code.ops().to_vec(),
        strategy: classified.strategy,
        nanoseconds: classified.classifier.nanoseconds(),
        map: String::new(),
        start: 0,
        length: 0,
        records: records.offset,
        record_words: records.length,
        most_counters: records.most_counters,
        exits: exits.collect(),
    }
}

/// Appends numbers of four bytes behind whole cache lines, and gives the place of the first.
fn words_at_end(data: &mut Vec<u8>, words: impl Iterator<Item = u32>) -> u32 {
    data.resize(data.len().next_multiple_of(LINE), 0);
    let start = data.len();
    data.extend(words.flat_map(u32::to_le_bytes));
    start as u32
}

/// What a listing shows above the code: the strategy, and the first rule and the last.
fn title(stage: &Stage<'_>, segment: &Segment) -> String {
    let rules = segment
        .nodes
        .clone()
        .filter_map(|node| match stage.plan.nodes[node].kind {
            NodeKind::Rule(chain, rule) => Some(&stage.filter.chain(chain).rules[rule].text),
            NodeKind::Policy(_) => None,
        });
    let rules: Vec<&String> = rules.collect();
    let strategy = segment.decider.strategy();
    match rules.as_slice() {
        [first, .., last] => format!("{} rules by {strategy}: {first} ... {last}", rules.len()),
        [only] => format!("by {strategy}: {only}"),
        [] => format!("by {strategy}"),
    }
}

/// Puts bytes into the first map with room for them.
fn keep(bytes: Vec<u8>, maps: &mut Vec<Map>) -> (MapId, u32) {
    let mut count = 0;
    for (index, map) in maps.iter_mut().enumerate() {
        if let MapKind::Constant { bytes: kept } = &mut map.kind
            && map.name.starts_with(CLASSES_MAP)
        {
            count += 1;
            let start = kept.len().next_multiple_of(LINE);
            if start + bytes.len() <= MAX_VALUE {
                kept.resize(start, 0);
                kept.extend(bytes);
                return (MapId(index as u16), start as u32);
            }
        }
    }
    maps.push(Map {
        name: match count {
            0 => CLASSES_MAP.into(),
            more => format!("{CLASSES_MAP}{more}"),
        },
        kind: MapKind::Constant { bytes },
    });
    (MapId(maps.len() as u16 - 1), 0)
}

#[derive(Clone, Copy)]
struct Records {
    offset: u32,
    length: u32,
    most_counters: usize,
}

struct Writer<'a> {
    stage: &'a Stage<'a>,
    code: Code,
    place: Place,
    records: Records,
    /// Where the exits begin.
    table: u32,
    exits: Vec<(u32, u32)>,
}

impl Writer<'_> {
    fn head(&mut self, segment: &Segment, may_be_null: bool) {
        self.code.line(title(self.stage, segment));
        self.code.mov(CONTEXT, Reg::R1);
        self.code.mov(PACKET, Reg::R2);
        if may_be_null {
            self.code.branch(Cond::Eq, PACKET, 0, self.place.escape);
        }
    }

    /// Sends packets away that the segment does not decide.
    fn gate(&mut self, gate: &Gate) -> Label {
        let concerned = self.code.label();
        for part in &gate.tests {
            test::branch(&mut self.code, part, true, concerned);
        }
        concerned
    }

    /// Counts and leaves as the word in R8 says.
    fn perform(&mut self) {
        let code = &mut self.code;
        let (counted, record) = (code.label(), code.label());
        code.mov(Reg::R7, Reg::R8);
        code.alu(Alu::Rsh, Reg::R7, COUNTER_BITS as i32);
        code.alu(Alu::And, Reg::R8, NOTHING as i32);
        let has_records = self.records.length > 0;
        if has_records {
            code.branch(Cond::Eq, Reg::R7, RECORD as i32, record);
        }
        code.branch(Cond::Eq, Reg::R8, NOTHING as i32, counted);
        let Counters { map, counting, .. } = self.stage.counters;
        rules::count_here(code, map, counting, Reg::R8);
        code.bind(counted);
        self.leave();
        if has_records {
            self.record(record, counted);
        }
        self.escape();
    }

    /// Drops what only the verifier believes in. Code that nothing leads to is refused.
    fn escape(&mut self) {
        let escape = self.place.escape;
        let leads = |op: &Op| matches!(op, Op::Branch(.., label) if *label == escape);
        if self.code.ops().iter().any(leads) {
            self.code.bind(escape);
            self.code.alu32(Alu::Mov, Reg::R0, DROP as i32);
            self.code.exit();
        }
    }

    /// Counts what the record at R8 lists, and goes to `counted` with its exit in R7.
    fn record(&mut self, record: Label, counted: Label) {
        let code = &mut self.code;
        code.bind(record);
        let length = Operand::Imm(self.records.length as i32);
        code.branch(Cond::Ge, Reg::R8, length, self.place.escape);
        code.alu(Alu::Lsh, Reg::R8, 2);
        let first = Imm64::MapValue(self.place.map, self.place.start + self.records.offset);
        code.load_imm64(Reg::R7, first);
        code.alu(Alu::Add, Reg::R8, Reg::R7);
        // Each counter is there or not in code of its own: a loop would be no shorter to verify.
        let done = code.label();
        for number in 0..self.records.most_counters {
            code.load(Size::W, Reg::R1, Reg::R8, 4);
            code.branch(Cond::Le, Reg::R1, number as i32, done);
            let counter = 4 * (RECORD_HEAD + number) as i16;
            code.load(Size::W, Reg::R7, Reg::R8, counter);
            rules::count(code, self.stage.counters.function, Reg::R7.into());
        }
        code.bind(done);
        code.load(Size::W, Reg::R7, Reg::R8, 0);
        code.jump(counted);
    }

    /// Returns what the exit in R7 says.
    fn leave(&mut self) {
        let code = &mut self.code;
        let pushes = self.exits.iter().any(|&(_, push)| push != 0);
        let numbers = (0..).zip(&self.exits);
        if numbers
            .into_iter()
            .all(|(number, &exit)| exit == (number, 0))
        {
            code.mov(Reg::R0, Reg::R7);
            code.exit();
            return;
        }
        let length = Operand::Imm(self.exits.len() as i32);
        code.branch(Cond::Ge, Reg::R7, length, self.place.escape);
        code.alu(Alu::Mul, Reg::R7, EXIT as i32);
        let first = Imm64::MapValue(self.place.map, self.place.start + self.table);
        code.load_imm64(Reg::R1, first);
        code.alu(Alu::Add, Reg::R7, Reg::R1);
        code.load(Size::W, Reg::R8, Reg::R7, 0);
        if pushes {
            let none = code.label();
            code.load(Size::W, Reg::R3, Reg::R7, 4);
            code.branch(Cond::Eq, Reg::R3, 0, none);
            rules::push(code, self.stage.plan, Reg::R3.into(), self.place.escape);
            code.bind(none);
        }
        if self.exits.contains(&(POP, 0)) {
            let stays = code.label();
            // The comparison is of 32 bits: an immediate is sign-extended.
            code.branch32(Cond::Ne, Reg::R8, POP as i32, stays);
            rules::pop(code, self.stage.plan, self.place.escape);
            code.bind(stays);
        }
        code.mov(Reg::R0, Reg::R8);
        code.exit();
    }
}
