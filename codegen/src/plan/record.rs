//! How a segment of many rules is decided, kept beside the programs so that rules that take the place of its
//! own need no new classifier (see [`reuse`](super::reuse)).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::{Flow, Node, NodeKind};
use crate::asm::{Code, Imm64, Label, MapId, Op};
use crate::classify::Strategy;
use crate::classify::data::Place;
use crate::module::RECORD_MAP;
use crate::semantic::{FamilyFilter, Stage, Test, Verdict};

/// What wrote a record: others of its form are not read.
const WRITER: &str = concat!("ipt2bpf ", env!("CARGO_PKG_VERSION"), " 1");

/// A segment as it was when its classifier was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Where it belongs: see [`place_of`].
    pub place: String,
    /// Its nodes, in order. They stand behind the records, because they are many.
    #[serde(skip)]
    pub nodes: Vec<KnownNode>,
    /// Where nodes lead.
    pub goals: Vec<Goal>,
    /// What the tests of its nodes look at. Programs read from a packet only what is asked for.
    pub asks: Vec<Test>,
    /// By node: which packets are others without it, for those that are gone.
    pub gone: BTreeMap<usize, Test>,
    /// The code that leaves the word of an outcome in R8. Its arrays lie at the beginning of map 0, and label
    /// 0 is the way out when a number is out of bounds.
    pub code: Vec<Op>,
    /// How it was made.
    pub strategy: Strategy,
    /// What it takes about.
    pub nanoseconds: f64,
    /// The map with its arrays and the records of outcomes.
    pub map: String,
    /// Their first byte.
    pub start: usize,
    /// How many bytes they are.
    pub length: usize,
    /// Where the outcomes' records begin, from there.
    pub records: u32,
    /// How many words the outcomes' records have.
    pub record_words: u32,
    /// The most counters of one of them.
    pub most_counters: usize,
    /// Where packets leave, by the numbers of the ways out.
    pub exits: Vec<Goal>,
}

/// A node of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownNode {
    /// What is tested and counted there: see [`content`].
    pub content: u64,
    /// Where a matching packet goes: index into the goals.
    pub hit: u32,
    /// Where another goes.
    pub miss: u32,
}

/// Where a packet goes from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Goal {
    /// To the next node of the segment.
    Next,
    /// To another node of it.
    Node(usize),
    /// To a node behind it, by its content, and the one to come back to.
    Outside(u64, Option<u64>),
    /// To the place on top of the return stack.
    Return,
    /// Out of the table.
    Verdict(Verdict),
}

/// All records of an object.
#[derive(Serialize, Deserialize)]
struct Records {
    writer: String,
    records: Vec<Record>,
    /// How many nodes each has.
    nodes: Vec<usize>,
}

/// Bytes of a node: its content and the numbers of its goals, least significant byte first.
const NODE: usize = 16;

/// The bytes of the map with the records: JSON, a byte 0, and the nodes.
pub fn write(records: Vec<Record>) -> Vec<u8> {
    let nodes: Vec<KnownNode> = records.iter().flat_map(|it| it.nodes.clone()).collect();
    let records = Records {
        writer: WRITER.to_owned(),
        nodes: records.iter().map(|it| it.nodes.len()).collect(),
        records,
    };
    let mut bytes = serde_json::to_vec(&records).unwrap_or_default();
    bytes.push(0);
    bytes.reserve(NODE * nodes.len());
    for node in nodes {
        bytes.extend(node.content.to_le_bytes());
        bytes.extend(node.hit.to_le_bytes());
        bytes.extend(node.miss.to_le_bytes());
    }
    bytes
}

/// The records among some maps; none where there are none that can be read.
pub fn read(constants: &BTreeMap<String, Vec<u8>>) -> Vec<Record> {
    let bytes = constants.get(RECORD_MAP).map_or(&[][..], Vec::as_slice);
    read_all(bytes).unwrap_or_default()
}

fn read_all(bytes: &[u8]) -> Option<Vec<Record>> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let (text, nodes) = (bytes.get(..end)?, bytes.get(end + 1..)?);
    let read: Records = serde_json::from_slice(text).ok()?;
    let mut nodes = nodes.as_chunks::<NODE>().0.iter().map(|node| {
        let (content, goals) = node.split_first_chunk()?;
        let (hit, miss) = goals.split_first_chunk()?;
        Some(KnownNode {
            content: u64::from_le_bytes(*content),
            hit: u32::from_le_bytes(*hit),
            miss: u32::from_le_bytes(*miss.first_chunk()?),
        })
    });
    let mut records = read.records;
    for (record, count) in records.iter_mut().zip(read.nodes) {
        record.nodes = nodes.by_ref().take(count).collect::<Option<_>>()?;
    }
    (read.writer == WRITER).then_some(records)
}

/// What tells the segments of a stage from those of others.
pub fn place_of(filter: &FamilyFilter, stage: Stage) -> String {
    let chain = &filter.chain(stage.chain).name;
    let (path, table) = (stage.path, stage.table);
    format!("{} {table} {chain} {path:?}", filter.family)
}

/// What is tested, counted and done at a node, as a number that is the same wherever it stands.
pub fn content(filter: &FamilyFilter, node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    match node.kind {
        NodeKind::Rule(chain, rule) => {
            let rule = &filter.chain(chain).rules[rule];
            (0u8, rule.counter, &rule.steps, &rule.effects).hash(&mut hasher);
        }
        NodeKind::Policy(counter) => (1u8, counter).hash(&mut hasher),
    }
    hasher.finish()
}

/// Numbers goals, each once.
#[derive(Default)]
pub struct Goals {
    goals: Vec<Goal>,
    numbers: std::collections::HashMap<Goal, u32>,
}

impl Goals {
    /// The number of a goal.
    pub fn number(&mut self, goal: Goal) -> u32 {
        *self.numbers.entry(goal).or_insert_with(|| {
            self.goals.push(goal);
            self.goals.len() as u32 - 1
        })
    }

    /// All of them.
    pub fn all(self) -> Vec<Goal> {
        self.goals
    }
}

/// Where a flow from a node of a segment leads.
pub fn goal(
    flow: Flow,
    from: usize,
    run: &std::ops::Range<usize>,
    content: impl Fn(usize) -> u64,
) -> Goal {
    match flow {
        Flow::To(to) if to == from + 1 && run.contains(&to) => Goal::Next,
        Flow::To(to) if run.contains(&to) => Goal::Node(to - run.start),
        Flow::To(to) => Goal::Outside(content(to), None),
        Flow::Call { to, back } => Goal::Outside(content(to), Some(content(back))),
        Flow::Return => Goal::Return,
        Flow::Verdict(verdict) => Goal::Verdict(verdict),
    }
}

/// What the tests of some nodes look at: each part once, in the order in which they are met, values left out.
pub fn asks(filter: &FamilyFilter, nodes: &[Node]) -> Vec<Test> {
    let mut asks = Vec::new();
    let mut ask = |leaf: &Test| {
        let about = match leaf {
            Test::Masked { field, .. } | Test::Range { field, .. } => Test::at_least(*field, 0),
            other => other.clone(),
        };
        // There are few fields.
        if !asks.contains(&about) {
            asks.push(about);
        }
    };
    for node in nodes {
        if let NodeKind::Rule(chain, rule) = node.kind {
            filter.chain(chain).rules[rule].leaves(&mut ask);
        }
    }
    asks
}

impl Record {
    /// Writes the code that finds the word of a packet's outcome.
    pub fn emit(&self, code: &mut Code, place: Place) {
        let mut labels = BTreeMap::from([(Label(0), place.escape)]);
        let mut label =
            |known: Label, code: &mut Code| *labels.entry(known).or_insert_with(|| code.label());
        for &op in &self.code {
            let op = match op {
                Op::Label(to) => Op::Label(label(to, code)),
                Op::Jump(to) => Op::Jump(label(to, code)),
                Op::Branch(width, cond, left, right, to) => {
                    Op::Branch(width, cond, left, right, label(to, code))
                }
                Op::LoadImm64(dst, Imm64::MapValue(MapId(0), offset)) => {
                    let value = Imm64::MapValue(place.map, place.start.wrapping_add(offset));
                    Op::LoadImm64(dst, value)
                }
                other => other,
            };
            code.push(op);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            place: "IPv4 filter INPUT All".to_owned(),
            nodes: vec![
                KnownNode {
                    content: u64::MAX - 1,
                    hit: 1,
                    miss: 0,
                };
                3
            ],
            goals: vec![Goal::Next, Goal::Verdict(Verdict::Drop)],
            asks: Vec::new(),
            gone: BTreeMap::from([(2, Test::TcpOption(4))]),
            code: vec![Op::Exit],
            strategy: Strategy::Hybrid,
            nanoseconds: 1.5,
            map: ".rodata.classes".to_owned(),
            start: 64,
            length: 640,
            records: 128,
            record_words: 0,
            most_counters: 0,
            exits: vec![Goal::Outside(7, None), Goal::Return],
        }
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let records = vec![record(), record()];
        let map = |bytes| BTreeMap::from([(RECORD_MAP.to_owned(), bytes)]);
        let bytes = write(records.clone());
        assert_eq!(read(&map(bytes.clone())), records);
        // What is damaged, or of another writer, is none.
        assert_eq!(read(&map(bytes[..bytes.len() / 3].to_vec())), []);
        let other = String::from_utf8_lossy(&bytes).replacen("ipt2bpf", "others!", 1);
        assert_eq!(read(&map(other.into_bytes())), []);
        assert_eq!(read(&BTreeMap::new()), []);
    }
}
