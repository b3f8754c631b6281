//! The elements of a set, grouped by key, and the order in which the kernel tries masks
//! (`mtype_test` and `mtype_test_cidrs`, net/netfilter/ipset/ip_set_hash_gen.h).

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use ipt2bpf_parser::ipset::{Part, Set, SetType};

use super::image::Image;
use super::key::{Dimension, Key, mask_of, of_parts, under};
use crate::packet::device_number;

/// The elements of a set.
#[derive(Debug)]
pub struct Table {
    /// Of what a key is made.
    pub dimensions: Vec<Dimension>,
    /// The masks that a packet's key is looked up under, one after the other.
    pub masks: Vec<Key>,
    /// Whether each mask covers the next, so that what is found under one is found under all that follow.
    pub nested: bool,
    /// The elements, by key.
    pub groups: Vec<Group>,
    /// The seconds that elements stay, or the interfaces that they name, are to be looked at.
    pub has_records: bool,
    /// Some elements stay for a time only.
    pub timed: bool,
    /// An element waits for the first packet to complete it.
    pub incomplete: bool,
    index: HashMap<(usize, Key), usize>,
    image: Option<Image>,
}

/// The elements that have the same key under the same mask. They are several only where they name
/// interfaces.
#[derive(Clone, Debug)]
pub struct Group {
    /// Index of the mask.
    pub mask: usize,
    /// The key under it.
    pub key: Key,
    /// In the order of the set.
    pub elements: Vec<Element>,
}

/// What an element says beyond its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// It is an exception.
    pub nomatch: bool,
    /// Seconds that it stays, 0 for ever.
    pub timeout: u32,
    /// The interface that it names.
    pub interface: Option<Interface>,
}

/// The interfaces that an element is for: `name & mask`, as [`Field::InDevice`](crate::field::Field) has
/// names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name.
    pub name: u128,
    /// The bits of it that count.
    pub mask: u128,
}

impl Interface {
    /// A name, or all that begin so.
    pub fn new(name: &str, wildcard: bool) -> Self {
        let bits = 8 * name.len().min(15) as u32;
        let mask = match wildcard {
            true => !u128::MAX.checked_shr(bits).unwrap_or(0),
            false => u128::MAX,
        };
        let name = device_number(name);
        Interface { name, mask }
    }

    /// Whether a name is among them.
    pub fn holds(&self, name: u128) -> bool {
        name & self.mask == self.name
    }
}

/// What a table says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing in it meets the packet.
    No,
    /// An element does.
    Yes,
    /// An exception does.
    NoMatch,
}

impl Answer {
    /// The number that a program has for it.
    pub fn number(self) -> u32 {
        match self {
            Answer::No => 0,
            Answer::Yes => 1,
            Answer::NoMatch => 2,
        }
    }
}

impl Element {
    /// What it says of a packet that meets it.
    pub fn answer(&self) -> Answer {
        match self.nomatch {
            false => Answer::Yes,
            true => Answer::NoMatch,
        }
    }
}

impl Table {
    /// The table of a set that is no list.
    pub fn new(set: &Set) -> Self {
        let family = set
            .options
            .family
            .unwrap_or(ipt2bpf_parser::ruleset::Family::V4);
        let entries = || set.entries.iter().map(|entry| &entry.value);
        // A packet has no port of a bridge here, and elements that name one lie elsewhere in the kernel.
        let met = || entries().filter(|entry| !names_bridge_port(&entry.parts));
        let lengths = |parts: &[Part]| -> Vec<u8> {
            let networks = parts.iter().filter_map(|part| match part {
                Part::Network { length, .. } => Some(*length),
                _ => None,
            });
            networks.collect()
        };
        let order: BTreeSet<_> = met().map(|entry| Reverse(lengths(&entry.parts))).collect();
        let order: Vec<Vec<u8>> = order.into_iter().map(|Reverse(lengths)| lengths).collect();
        let mut table = Table {
            dimensions: Dimension::of(set.kind, family),
            masks: Vec::new(),
            nested: order.iter().all(|lengths| lengths.len() < 2),
            groups: Vec::new(),
            has_records: false,
            timed: false,
            incomplete: false,
            index: HashMap::new(),
            image: None,
        };
        // The kernel takes a most specific prefix of 0 for none (`hash_netiface4_kadt`).
        if set.kind == SetType::HashNetIface && order == [[0]] {
            return table;
        }
        for entry in met() {
            let mask = order
                .binary_search_by_key(&Reverse(lengths(&entry.parts)), |it| Reverse(it.clone()));
            let mask_bits = mask_of(&entry.parts, &set.options);
            let mask = mask.unwrap_or_default();
            if table.masks.len() <= mask {
                table.masks.resize(order.len(), mask_bits);
            }
            table.masks[mask] = mask_bits;
            table.incomplete |= entry.parts.len() < table.dimensions.len();
            let element = super::element(entry);
            table.timed |= element.timeout != 0;
            table.has_records |= element.timeout != 0 || element.interface.is_some();
            table.add(mask, under(&of_parts(&entry.parts), &mask_bits), element);
        }
        table.image = Image::new(&table);
        table
    }

    fn add(&mut self, mask: usize, key: Key, element: Element) {
        let next = self.groups.len();
        let group = *self.index.entry((mask, key)).or_insert(next);
        if group == next {
            self.groups.push(Group {
                mask,
                key,
                elements: Vec::new(),
            });
        }
        self.groups[group].elements.push(element);
    }

    /// How many bytes of a key count.
    pub fn key_size(&self) -> usize {
        self.dimensions.iter().map(|it| it.size()).sum()
    }

    /// The elements that a packet's key meets under a mask.
    pub fn group(&self, mask: usize, key: &Key) -> Option<&Group> {
        let key = under(key, self.masks.get(mask)?);
        self.index.get(&(mask, key)).map(|&it| &self.groups[it])
    }

    /// What the set says of a packet with a key, by an interface of this name, so many seconds after the
    /// elements were read; `is_gone` says whether an element of so many seconds is not there any more.
    pub fn answer(&self, key: &Key, interface: u128, is_gone: impl Fn(u32) -> bool) -> Answer {
        for mask in 0..self.masks.len() {
            let Some(group) = self.group(mask, key) else {
                continue;
            };
            let mut there = group
                .elements
                .iter()
                .filter(|it| !is_gone(it.timeout))
                .peekable();
            let others = there.peek().is_some();
            let meets = |it: &&Element| it.interface.is_none_or(|pattern| pattern.holds(interface));
            if let Some(element) = there.find(meets) {
                return element.answer();
            }
            // Elements of the same network for other interfaces end the search (`multi`).
            if others {
                return Answer::No;
            }
        }
        Answer::No
    }

    /// The table as a program reads it; none when it is too large.
    pub fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }
}

fn names_bridge_port(parts: &[Part]) -> bool {
    parts
        .iter()
        .any(|part| matches!(part, Part::Interface { physdev: true, .. }))
}
