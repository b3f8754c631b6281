//! A set as a program reads it: constant bytes, and the numbers that its code needs.
//!
//! A look-up is a walk over [`Node`]s. Each names a mask; the masked key is looked up in one perfect hash
//! for all masks, and whether it is found leads to another node. Where masks are nested, the nodes are a
//! search tree over prefix lengths: a key that is found asks for longer prefixes, one that is not for
//! shorter ones (Waldvogel and others, "Scalable high speed IP routing lookups", 1997). For that, the hash
//! also holds the shortened keys that lie on the ways to longer ones, each with what the longest prefix
//! up to there says. Where masks are not nested, they are tried in order and the first hit ends the walk.

use std::collections::HashMap;

use super::hash::{PerfectHash, digest};
use super::key::{Key, under};
use super::table::{Group, Table};

/// The most nodes: their numbers take the high byte of a value, where 0 is none.
const MAX_NODES: usize = 254;
/// The most records: their numbers take the other three.
const MAX_RECORDS: usize = 1 << 24;
/// How many records a packet may meet one after the other.
pub const MAX_CHAIN: usize = 48;
/// How many masks that are not nested may be tried.
const MAX_TRIES: usize = 48;

/// One step of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Index of its mask.
    pub mask: usize,
    /// Where to go on when the masked key is found; [`Image::end`] is nowhere.
    pub hit: usize,
    /// Where to go on when it is not.
    pub miss: usize,
}

/// Where things lie in the bytes of a record.
pub mod record {
    /// Seconds that the element stays: `u32`, 0 for ever.
    pub const TIMEOUT: i16 = 0;
    /// The number of the next record: `u32`, 0 for none.
    pub const NEXT: i16 = 4;
    /// The answer: `u8`.
    pub const ANSWER: i16 = 8;
    /// 1 in the last record of a group: `u8`.
    pub const LAST: i16 = 9;
    /// The interface's name, 16 bytes, where elements name interfaces.
    pub const NAME: i16 = 16;
    /// The bits of it that count, likewise.
    pub const MASK: i16 = 32;
    /// The size of a record without interface.
    pub const SHORT: usize = 12;
    /// The size of a record with interface.
    pub const LONG: usize = 48;
}

/// Bytes of the mask of a node, and of the two numbers behind it.
pub const NODE_LINKS: usize = 4;

/// The packed form of a table.
#[derive(Debug)]
pub struct Image {
    /// The constant bytes.
    pub bytes: Vec<u8>,
    /// The nodes; the walk begins at the first.
    pub nodes: Vec<Node>,
    /// How many nodes a walk meets at most.
    pub depth: usize,
    /// How many records a packet meets at most, 0 when values are answers.
    pub chain: usize,
    /// What digests are mixed with.
    pub salt: u32,
    /// Number of buckets of the hash.
    pub buckets: usize,
    /// Number of slots.
    pub slots: usize,
    /// Number of records.
    pub records: usize,
    /// Bytes of a record.
    pub record_size: usize,
    /// Where the nodes begin.
    pub nodes_at: usize,
    /// Where the numbers of buckets begin.
    pub displacements_at: usize,
    /// Where the slots begin.
    pub slots_at: usize,
    /// Where the records begin.
    pub records_at: usize,
}

/// The words of a key as digests take them.
pub fn words(key: &Key, size: usize) -> impl Iterator<Item = u64> {
    key[..size].chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

impl Image {
    /// The number that ends a walk.
    pub fn end(&self) -> usize {
        self.nodes.len()
    }

    /// Packs a table; none when it is too large.
    pub fn new(table: &Table) -> Option<Self> {
        let limit = if table.nested { MAX_NODES } else { MAX_TRIES };
        if table.masks.len() > limit {
            return None;
        }
        let (nodes, depth) = match table.nested {
            true => search_tree(table.masks.len()),
            false => sequence(table.masks.len()),
        };
        let mut packer = Packer::new(table, &nodes);
        packer.groups();
        let Packer {
            keys,
            records,
            chain,
            ..
        } = packer;
        if records.len() >= MAX_RECORDS || chain > MAX_CHAIN {
            return None;
        }
        let size = table.key_size();
        let hash = PerfectHash::new(keys.len(), |salt, key| {
            let (node, key, _) = &keys[key];
            digest(salt, *node as u32 + 1, words(key, size))
        })?;
        let record_size = match table.dimensions.contains(&super::key::Dimension::Interface) {
            true => record::LONG,
            false => record::SHORT,
        };
        let mut bytes = Vec::new();
        let nodes_at = bytes.len();
        for node in &nodes {
            bytes.extend(&table.masks[node.mask][..size]);
            bytes.extend((node.hit as u16).to_le_bytes());
            bytes.extend((node.miss as u16).to_le_bytes());
        }
        let displacements_at = aligned(&mut bytes);
        for displacement in &hash.displacements {
            bytes.extend(displacement.to_le_bytes());
        }
        let slots_at = aligned(&mut bytes);
        for slot in &hash.slots {
            match slot.map(|key| &keys[key]) {
                Some((node, key, value)) => {
                    bytes.extend(&key[..size]);
                    bytes.extend(((*node as u32 + 1) << 24 | value).to_le_bytes());
                }
                None => bytes.resize(bytes.len() + size + 4, 0),
            }
        }
        let records_at = aligned(&mut bytes);
        for record in &records {
            bytes.extend(&record[..record_size]);
        }
        aligned(&mut bytes);
        Some(Image {
            bytes,
            nodes,
            depth,
            chain,
            salt: hash.salt,
            buckets: hash.displacements.len(),
            slots: hash.slots.len(),
            records: records.len(),
            record_size,
            nodes_at,
            displacements_at,
            slots_at,
            records_at,
        })
    }
}

/// Fills up to a multiple of eight and gives the length.
fn aligned(bytes: &mut Vec<u8>) -> usize {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.len()
}

/// The nodes for so many masks in order, the first hit of which ends the walk, and the longest walk.
fn sequence(masks: usize) -> (Vec<Node>, usize) {
    let nodes = (0..masks).map(|mask| Node {
        mask,
        hit: masks,
        miss: mask + 1,
    });
    (nodes.collect(), masks)
}

/// The nodes of a balanced search tree over so many masks, the first of which is the longest.
fn search_tree(masks: usize) -> (Vec<Node>, usize) {
    fn grow(nodes: &mut Vec<Node>, longest: usize, behind: usize, depth: usize) -> (usize, usize) {
        if longest == behind {
            return (usize::MAX, depth);
        }
        let mask = longest + (behind - longest) / 2;
        let node = nodes.len();
        nodes.push(Node {
            mask,
            hit: usize::MAX,
            miss: usize::MAX,
        });
        let (hit, longer) = grow(nodes, longest, mask, depth + 1);
        let (miss, shorter) = grow(nodes, mask + 1, behind, depth + 1);
        nodes[node].hit = hit;
        nodes[node].miss = miss;
        (node, longer.max(shorter))
    }
    let mut nodes = Vec::new();
    let (_, depth) = grow(&mut nodes, 0, masks, 0);
    let end = nodes.len();
    for node in &mut nodes {
        node.hit = node.hit.min(end);
        node.miss = node.miss.min(end);
    }
    (nodes, depth)
}

/// A record's bytes; without interface, only the first count.
type Record = [u8; record::LONG];

struct Packer<'a> {
    table: &'a Table,
    nodes: &'a [Node],
    /// Node, key and value.
    keys: Vec<(usize, Key, u32)>,
    known: HashMap<(usize, Key), usize>,
    /// The value of each group that has one already.
    values: HashMap<(usize, Key), (u32, usize)>,
    records: Vec<Record>,
    chain: usize,
}

impl<'a> Packer<'a> {
    fn new(table: &'a Table, nodes: &'a [Node]) -> Self {
        Packer {
            table,
            nodes,
            keys: Vec::new(),
            known: HashMap::new(),
            values: HashMap::new(),
            records: Vec::new(),
            chain: 0,
        }
    }

    fn groups(&mut self) {
        for group in &self.table.groups {
            let mut node = 0;
            while let Some(Node { mask, hit, miss }) = self.nodes.get(node).copied() {
                if mask == group.mask {
                    let (value, _) = self.value(group);
                    self.put(node, group.key, value);
                    break;
                }
                // Towards longer masks, the key must be found on the way.
                if self.table.nested && mask > group.mask {
                    let key = under(&group.key, &self.table.masks[mask]);
                    if !self.known.contains_key(&(node, key)) {
                        let value = self.found_from(mask, &key).0;
                        self.put(node, key, value);
                    }
                    node = hit;
                } else {
                    node = miss;
                }
            }
        }
    }

    fn put(&mut self, node: usize, key: Key, value: u32) {
        let next = self.keys.len();
        let at = *self.known.entry((node, key)).or_insert(next);
        match at == next {
            true => self.keys.push((node, key, value)),
            false => self.keys[at].2 = value,
        }
    }

    /// What the first mask from an index on says of a key, and how many records that is.
    fn found_from(&mut self, first: usize, key: &Key) -> (u32, usize) {
        let table = self.table;
        let mut masks = first..table.masks.len();
        match masks.find_map(|mask| table.group(mask, key)) {
            Some(group) => self.value(group),
            None => (0, 0),
        }
    }

    /// The value of a group: its answer, or its first record; and how many records follow one another.
    fn value(&mut self, group: &Group) -> (u32, usize) {
        if !self.table.has_records {
            return (
                group.elements.first().map_or(0, |it| it.answer().number()),
                0,
            );
        }
        let name = (group.mask, group.key);
        if let Some(&known) = self.values.get(&name) {
            return known;
        }
        let (next, behind) = match self.table.nested {
            true => self.found_from(group.mask + 1, &group.key),
            false => (0, 0),
        };
        let first = self.records.len() as u32 + 1;
        for (number, element) in (1..).zip(&group.elements) {
            let last = number == group.elements.len();
            let mut bytes = [0; record::LONG];
            let mut store = |at: i16, value: &[u8]| {
                bytes[at as usize..][..value.len()].copy_from_slice(value);
            };
            store(record::TIMEOUT, &element.timeout.to_le_bytes());
            let following = if last { next } else { first + number as u32 };
            store(record::NEXT, &following.to_le_bytes());
            store(
                record::ANSWER,
                &[element.answer().number() as u8, last.into()],
            );
            if let Some(interface) = element.interface {
                store(record::NAME, &interface.name.to_be_bytes());
                store(record::MASK, &interface.mask.to_be_bytes());
            }
            self.records.push(bytes);
        }
        let value = (first, behind + group.elements.len());
        self.chain = self.chain.max(value.1);
        self.values.insert(name, value);
        value
    }
}
