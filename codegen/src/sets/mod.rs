//! Sets of addresses, ports and the like (ipset): what `-m set` and `-j SET` ask for.
//!
//! [`Sets`] are made from what `ipset save` prints. The elements of a set are kept as [`table::Table`],
//! from which the reference answers, and are packed as [`image::Image`], from which a program answers: a
//! perfect hash with one entry for each element, so that a look-up costs two reads of memory for each
//! prefix length that it tries. Where sets are to be changed while programs run, they are maps of the kernel
//! instead, as [`live`] tells.

pub mod hash;
pub mod image;
pub mod key;
pub mod live;
pub mod table;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ipt2bpf_parser::ipset::{Part, Set, SetType};
use ipt2bpf_parser::ruleset::Family;

use live::LiveShape;
use table::{Element, Table};

/// The sets that rules may ask for, by name.
#[derive(Clone, Debug, Default)]
pub struct Sets(HashMap<String, Known>);

/// A set, which is equal to another of the same name.
#[derive(Clone, Debug)]
pub struct Known(Arc<Facts>);

/// What is known of a set.
#[derive(Debug)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: SetType,
    /// The family of its addresses; none in sets without addresses.
    pub family: Option<Family>,
    /// Whether its elements count packets and bytes.
    pub counters: bool,
    /// How many seconds an element lives that is added without a word; none in sets without timeouts.
    pub timeout: Option<u32>,
    /// What is in it.
    pub contents: Contents,
    /// Its number among all sets.
    pub number: u32,
    /// The line that creates it.
    pub create: Vec<u8>,
    /// How it lies in a map that can be changed; none when it cannot.
    pub live: Option<LiveShape>,
}

/// What is in a set.
#[derive(Debug)]
pub enum Contents {
    /// Elements.
    Elements(Box<Table>),
    /// Other sets, in order, each with the seconds that it stays, 0 for ever.
    Members(Vec<(Known, u32)>),
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl std::ops::Deref for Known {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.0
    }
}

impl Sets {
    /// The sets of save files, lists behind their members, as the parser gives them.
    pub fn new(sets: &[Set]) -> Self {
        let mut known = HashMap::new();
        for (set, number) in sets.iter().zip(0..) {
            let facts = Facts::of(set, number, &known);
            known.insert(set.name.value.clone(), Known(Arc::new(facts)));
        }
        Sets(known)
    }

    /// The set of a name.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.0.get(name)
    }
}

impl Facts {
    fn of(set: &Set, number: u32, known: &HashMap<String, Known>) -> Self {
        let contents = match set.kind {
            SetType::ListSet => Contents::Members(members(set, known)),
            _ => Contents::Elements(Box::new(Table::new(set))),
        };
        Facts {
            name: set.name.value.clone(),
            kind: set.kind,
            family: set.options.family,
            counters: set.options.counters,
            timeout: set.options.timeout,
            contents,
            number,
            create: created(set),
            live: LiveShape::of(set),
        }
    }

    /// Whether packets of a family can be in it, when a rule names so many sides (`ip_set_test`,
    /// net/netfilter/ipset/ip_set_core.c).
    pub fn takes(&self, family: Family, sides: usize) -> bool {
        sides >= self.kind.dimension() && self.family.is_none_or(|own| own == family)
    }
}

/// The line that creates a set.
fn created(set: &Set) -> Vec<u8> {
    let empty = Set {
        name: set.name.clone(),
        kind: set.kind,
        options: set.options.clone(),
        entries: Vec::new(),
    };
    empty.print()
}

fn members(set: &Set, known: &HashMap<String, Known>) -> Vec<(Known, u32)> {
    let entries = set.entries.iter().filter_map(|entry| {
        let Some(Part::Set(name)) = entry.value.parts.first() else {
            return None;
        };
        let member = known.get(name)?;
        Some((member.clone(), entry.value.timeout.unwrap_or(0)))
    });
    entries.collect()
}

/// An element as the table of its set keeps it.
fn element(entry: &ipt2bpf_parser::ipset::Entry) -> Element {
    let interface = entry.parts.iter().find_map(|part| match part {
        Part::Interface { name, wildcard, .. } => Some(table::Interface::new(name, *wildcard)),
        _ => None,
    });
    Element {
        nomatch: entry.nomatch,
        timeout: entry.timeout.unwrap_or(0),
        interface,
    }
}
