//! What programs go on from that take the place of others: the numbers of counters, the places of states, and
//! the classifiers of rules that stay.

use std::collections::BTreeMap;

use ipt2bpf_parser::ruleset::Ruleset;

use crate::counters::CounterLayout;
use crate::emit::states::States;
use crate::plan::record::{self, Record};

/// An object that is replaced, as far as its successor looks at it.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// The numbers of the counters of the new rulesets: see [`CounterLayout::onto`].
    pub layout: CounterLayout,
    /// How many counters its map has.
    pub counters: u32,
    /// Where its matches keep their states.
    pub states: States,
    /// Its rulesets without the rules that stay.
    pub gone: Vec<Ruleset>,
    /// The numbers of their counters.
    pub gone_layout: CounterLayout,
    /// How its segments of many rules are decided.
    pub records: Vec<Record>,
    /// Its constant maps by their names.
    pub constants: BTreeMap<String, Vec<u8>>,
}

impl Before {
    /// The same with the constant maps of the object ([`REUSED_MAPS`](crate::module::REUSED_MAPS)).
    #[must_use]
    pub fn with_constants(self, constants: BTreeMap<String, Vec<u8>>) -> Self {
        Before {
            records: record::read(&constants),
            constants,
            ..self
        }
    }
}

/// How many counters a map should have, so that some rules more need no other: `room` are needed.
pub fn spacious(room: u32) -> u32 {
    const LEAST: u32 = 64;
    let spare = (room / 8).max(LEAST);
    (room + spare).next_multiple_of(LEAST)
}
