//! What the compiling process is asked for, and what it gives.

use std::collections::BTreeMap;

use ipt2bpf_codegen::module::Hook;
use ipt2bpf_parser::ruleset::{Family, TableKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Host, answers, tables};
use crate::failure::Failure;
use crate::request::{Check, Choices, Compile, Decode, Explain, Rules};

/// A job. Those with the name of a method have its parameters.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "method", content = "parameters")]
pub enum Job {
    /// For any kernel; the bytes of the answer are the object.
    Compile(Compile),
    /// Says how much can be translated.
    Check(Check),
    /// Says what becomes of packets.
    Explain(Explain),
    /// From a blob to text.
    Decode(Decode),
    /// For the running kernel; the answer is a [`Prepared`] with the object as its bytes.
    Prepare(Prepare),
    /// A table as iptables reads it; the answer is a [`Listing`] with the bytes of the table. The job's bytes are
    /// the text of the rulesets.
    List(List),
    /// A table as iptables replaces it; the answer is a [`Changed`], its bytes the object. The job's bytes are
    /// the text of the rulesets, then the blob.
    Change(Change),
}

/// To be loaded into the running kernel.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Prepare {
    /// What is compiled.
    pub rules: Rules,
    /// How.
    pub choices: Option<Choices>,
    /// For which hooks; all of which the choices name when there is none.
    pub hooks: Vec<Hook>,
}

/// What there is to know of an object when it is loaded.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Prepared {
    /// What is to be said of the rules.
    pub messages: Value,
    /// What the text says that rules and policies have counted: packets and bytes, in the order of the map.
    pub counters: Vec<(u64, u64)>,
}

/// One table of the rulesets.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct List {
    /// Of which family.
    pub family: Family,
    /// Which.
    pub table: TableKind,
    /// What the rules of all tables have counted, in the order of the map.
    pub counters: Vec<(u64, u64)>,
    /// The ipsets by index.
    pub sets: BTreeMap<u16, String>,
}

/// The table, as the kernel would describe it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Listing {
    /// `struct ipt_getinfo` is the first so many of the answer's bytes; `struct ipt_get_entries` with the entries are the
    /// others.
    pub info: usize,
    /// For each entry the counter of its rule or policy, if it has one in the map.
    pub counters: Vec<Option<u32>>,
}

/// A new table in the place of an old one.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Change {
    /// Of which family.
    pub family: Family,
    /// How many of the bytes are the text of the rulesets.
    pub text: usize,
    /// For which hooks.
    pub hooks: Vec<Hook>,
    /// How the new rulesets are translated.
    pub choices: Choices,
    /// The ipsets by index.
    pub sets: BTreeMap<u16, String>,
    /// As ipset save prints them.
    pub set_text: String,
}

/// What comes of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Changed {
    /// What the kernel would answer to the blob.
    Errno(i32),
    /// The rules cannot be translated, and why: text for people.
    Refused(String),
    /// The object of the new rulesets.
    Done {
        /// What is to be said of the rules: text for people.
        said: String,
        /// For each counter of the new object that goes on, the number that it has in the old one.
        carried: Vec<Option<u32>>,
        /// For each entry of the table that goes, the counter that it has, if any.
        old: Vec<Option<u32>>,
        /// The states of matches that the old object does not have, by map and index.
        fresh: Vec<(String, u32)>,
        /// Where the caller wants what these have counted: an address in its memory.
        address: u64,
    },
}

/// What a job gives.
#[derive(Debug)]
pub struct Answer {
    /// JSON.
    pub value: Value,
    /// Bytes.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// An answer with bytes.
    pub fn new(value: impl Serialize, bytes: Vec<u8>) -> Answer {
        // Structs of strings and numbers always become values.
        let value = serde_json::to_value(value).unwrap_or_default();
        Answer { value, bytes }
    }
}

impl Job {
    /// Does it.
    ///
    /// # Errors
    /// What the caller of the method is told.
    pub fn run(self, host: &Host, bytes: &[u8]) -> Result<Answer, Failure> {
        match self {
            Job::Compile(it) => answers::compile(host, &it),
            Job::Check(it) => answers::check(host, &it),
            Job::Explain(it) => answers::explain(host, &it),
            Job::Decode(it) => answers::decode(&it),
            Job::Prepare(it) => answers::prepare(host, &it),
            Job::List(it) => tables::list(it, bytes),
            Job::Change(it) => tables::change(host, it, bytes),
        }
    }
}
