//! The judge: netfilter of the current network namespace, with taps before and after its tables.
//!
//! The taps are nftables chains in a table of their own. They stand before raw in PREROUTING and OUTPUT,
//! before mangle and behind security in INPUT, and behind mangle in POSTROUTING, and remember the packets
//! that pass by [`Frame::id`]. They use no `ct`, so they do not switch connection tracking on. Priorities
//! are those of `enum nf_ip_hook_priorities`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use anyhow::{Context, Result, ensure};
use ipt2bpf_parser::ruleset::{Counters, Family, TableKind};
use serde::Deserialize;

use crate::frame::{Direction, Frame};
use crate::host::Host;
use crate::sender::{Fate, MARK};
use crate::tool;

/// Which built-in chains a packet meets, those of PREROUTING aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// INPUT: it is for this host.
    Input,
    /// FORWARD, then POSTROUTING: it is for another.
    Forward,
    /// OUTPUT, then POSTROUTING: it is from this host. It meets no PREROUTING.
    Output,
}

/// Where the kernel sends a frame, whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// To no table: the IP layer drops it.
    Unseen,
    /// To no table: the kernel does not send it, and tells the sender.
    Refused,
    /// From PREROUTING or OUTPUT to nowhere: an unusable address, option or hop limit.
    Unrouted,
    /// A fragment of an IPv4 datagram that PREROUTING passes on and no other chain sees: it waits for
    /// the others before INPUT, or it is unrouted.
    Held,
    /// To this host.
    Local,
    /// To another, by this interface.
    Via(String),
    /// From this host, by this interface.
    Out(String),
}

impl Route {
    /// The chains that this leads through to a verdict, if any.
    pub fn path(&self) -> Option<Path> {
        match self {
            Route::Local => Some(Path::Input),
            Route::Via(_) => Some(Path::Forward),
            Route::Out(_) => Some(Path::Output),
            Route::Unseen | Route::Refused | Route::Unrouted | Route::Held => None,
        }
    }
}

/// Whether a packet came through all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It did.
    Accept,
    /// Some table dropped it.
    Drop,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// No table saw it: the IP layer dropped it, or defragmentation for connection tracking took it.
    Unseen,
    /// No table saw it: the kernel did not send it.
    Refused,
    /// Routing dropped it.
    Unrouted,
    /// It waits for other fragments, or routing dropped it.
    Held,
    /// The tables decided.
    Decided(Path, Verdict),
}

/// Names one counter of a ruleset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterKey {
    /// The table.
    pub table: TableKind,
    /// The chain.
    pub chain: String,
    /// The rule, from 1; none is the chain's policy.
    pub rule: Option<usize>,
}

/// A counter with the words of its rule or policy as iptables-save prints them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedRule {
    /// Whose it is.
    pub key: CounterKey,
    /// `-A CHAIN ...`, or `:CHAIN POLICY`.
    pub text: String,
    /// What it counted.
    pub counters: Counters,
}

/// The tables with their names.
const TABLES: [(TableKind, &str); 5] = [
    (TableKind::Raw, "raw"),
    (TableKind::Mangle, "mangle"),
    (TableKind::Nat, "nat"),
    (TableKind::Filter, "filter"),
    (TableKind::Security, "security"),
];

/// Netfilter of the current namespace, for one family.
pub struct Netfilter<'host> {
    host: &'host Host,
    family: Family,
    /// The taps as a script for nft, which puts them in the place of those before.
    taps: String,
}

/// Where the taps saw a packet; the names are those of the sets.
#[derive(Default)]
struct Seen {
    /// In none of the sets: the kernel did not send it.
    refused: HashSet<u16>,
    arrived: HashSet<u16>,
    input: HashSet<u16>,
    accepted: HashSet<u16>,
    /// Accepted as well, with the interface it leaves by.
    forwarded: HashMap<u16, String>,
}

impl<'host> Netfilter<'host> {
    /// Installs the taps. Call it once for a host and family, before any rules are loaded.
    ///
    /// # Errors
    /// When nft does not take them.
    pub fn new(host: &'host Host, family: Family) -> Result<Self> {
        let (table, id) = match family {
            Family::V4 => ("ip tap", "@nh,32,16"),
            Family::V6 => ("ip6 tap", "@nh,16,16"),
        };
        let id_and_interface = format!("{id} . meta oifname");
        let set =
            |name, key| format!("set {name} {{\ntypeof {key}\nsize 65535\nflags dynamic\n}}\n");
        let chain = |hook: &str, priority: i32, action: &str| {
            let label = priority.unsigned_abs();
            format!(
                "chain {hook}-{label} {{\ntype filter hook {hook} priority {priority}\n{action}\n}}\n"
            )
        };
        let remember = |set, key| format!("add @{set} {{ {key} }}\n");
        let taps = [
            format!("table {table}\ndelete table {table}\ntable {table} {{\n"),
            set("arrived", id),
            set("input", id),
            set("accepted", id),
            set("forwarded", &id_and_interface),
            chain("prerouting", -301, &remember("arrived", id)),
            chain("input", -151, &remember("input", id)),
            // Dropped here, so that nothing answers and no connection is confirmed.
            chain("input", 51, &(remember("accepted", id) + "drop")),
            chain(
                "postrouting",
                -149,
                &(remember("forwarded", &id_and_interface) + "drop"),
            ),
            // What the kernel itself sends, such as the answers of REJECT, would count in the rules. The
            // mark has done its work then.
            chain(
                "output",
                -301,
                &format!(
                    "meta mark != {MARK} drop\nmeta mark set 0\n{}",
                    remember("arrived", id)
                ),
            ),
            "}\n".into(),
        ];
        let netfilter = Netfilter {
            host,
            family,
            taps: taps.concat(),
        };
        netfilter.install_taps()?;
        Ok(netfilter)
    }

    /// Puts empty taps in the place of those before. A set that was only emptied would shrink while the
    /// next packets come, and take no more of them than fit until that is done, which on a busy machine
    /// may be long (`rhashtable_insert_rehash`, lib/rhashtable.c); a new one has its full size.
    fn install_taps(&self) -> Result<()> {
        tool::run("nft", &["-f", "-"], &self.taps).map(drop)
    }

    /// Loads the tables of a save text in place of those loaded before, all counters zero.
    ///
    /// # Errors
    /// When iptables or the kernel refuses the text.
    pub fn load(&self, text: &str) -> Result<()> {
        load(self.family, text)
    }

    /// Lets frames arrive, or sends them, one after the other and tells what became of each.
    ///
    /// `routes` is what [`route`](Self::route) said of the same frames: the kernel gives no reason
    /// for a packet that did not come through, so a packet that the tables dropped is known by
    /// having come through without them.
    ///
    /// # Errors
    /// When a frame cannot be injected or the taps cannot be read.
    pub fn judge(&self, frames: &[&Frame], routes: &[Route]) -> Result<Vec<Judgement>> {
        ensure!(frames.len() == routes.len(), "each frame needs its route");
        let seen = self.observe(frames)?;
        let judge = |(frame, route): (&&Frame, &Route)| match (frame.id(), route.path()) {
            (Some(id), Some(path)) if seen.arrived.contains(&id) => {
                let verdict = match seen.accepted.contains(&id) || seen.forwarded.contains_key(&id)
                {
                    true => Verdict::Accept,
                    false => Verdict::Drop,
                };
                Judgement::Decided(path, verdict)
            }
            _ => match route {
                Route::Held => Judgement::Held,
                Route::Unrouted => Judgement::Unrouted,
                Route::Refused => Judgement::Refused,
                Route::Unseen | Route::Local | Route::Via(_) | Route::Out(_) => Judgement::Unseen,
            },
        };
        Ok(frames.iter().zip(routes).map(judge).collect())
    }

    /// Says where each frame goes. Call it while no rules are loaded.
    ///
    /// # Errors
    /// When a frame cannot be injected or the taps cannot be read.
    pub fn route(&self, frames: &[&Frame]) -> Result<Vec<Route>> {
        let seen = self.observe(frames)?;
        let route = |frame: &&Frame| {
            let Some(id) = frame.id().filter(|id| seen.arrived.contains(id)) else {
                return match frame.id().is_some_and(|id| seen.refused.contains(&id)) {
                    true => Route::Refused,
                    false => Route::Unseen,
                };
            };
            match (frame.direction, seen.forwarded.get(&id)) {
                (Direction::Received, Some(interface)) => Route::Via(interface.clone()),
                (Direction::Received, None) if seen.input.contains(&id) => Route::Local,
                (Direction::Received, None) if frame.is_ipv4_fragment() => Route::Held,
                (Direction::Sent, Some(interface)) => Route::Out(interface.clone()),
                (Direction::Received | Direction::Sent, None) => Route::Unrouted,
            }
        };
        Ok(frames.iter().map(route).collect())
    }

    /// All rules and policies with what they have counted since [`load`](Self::load), in the order
    /// of iptables-save.
    ///
    /// # Errors
    /// When iptables-save fails or its output is not understood.
    pub fn counters(&self) -> Result<Vec<CountedRule>> {
        counters(self.family)
    }

    /// Injects frames; gives back what the taps saw, and empties them.
    fn observe(&self, frames: &[&Frame]) -> Result<Seen> {
        let mut ids = HashSet::new();
        ensure!(
            frames
                .iter()
                .filter_map(|frame| frame.id())
                .all(|id| ids.insert(id)),
            "the taps need a unique id in each frame"
        );
        let mut refused = HashSet::new();
        for frame in frames {
            ensure!(frame.family == self.family, "a frame of the other family");
            if self.host.inject(frame)? == Fate::Refused {
                refused.extend(frame.id());
            }
        }
        let family = match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let listing = tool::run("nft", &["-j", "list", "table", family, "tap"], "")?;
        self.install_taps()?;
        let mut sets = parse_sets(&listing).context("cannot read the taps")?;
        let mut take = |name: &str| {
            let set = sets.remove(name);
            set.with_context(|| format!("there is no tap {name}"))
        };
        let mut ids =
            |name| -> Result<HashSet<u16>> { Ok(take(name)?.iter().map(Element::id).collect()) };
        let (arrived, input, accepted) = (ids("arrived")?, ids("input")?, ids("accepted")?);
        let forwarded = take("forwarded")?
            .into_iter()
            .filter_map(|element| match element {
                Element::IdAndInterface { concat } => Some(concat),
                Element::Id(_) => None,
            });
        Ok(Seen {
            refused,
            arrived,
            input,
            accepted,
            forwarded: forwarded.collect(),
        })
    }
}

/// All rules and policies of the current namespace with what they have counted, in the order of
/// iptables-save.
///
/// # Errors
/// When iptables-save fails or its output is not understood.
pub fn counters(family: Family) -> Result<Vec<CountedRule>> {
    parse_counters(&tool::run(&program(family, "save"), &["-c"], "")?)
}

/// Loads the tables of a save text into the current namespace.
///
/// # Errors
/// When iptables or the kernel refuses the text.
pub fn load(family: Family, text: &str) -> Result<()> {
    tool::run(&program(family, "restore"), &["-w"], text).map(drop)
}

fn program(family: Family, action: &str) -> String {
    let tool = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    format!("{tool}-legacy-{action}")
}

/// The part of `nft -j list table` that we read (libnftables-json(5)).
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    set: Option<Set>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    #[serde(default)]
    elem: Vec<Element>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Element {
    Id(u16),
    IdAndInterface { concat: (u16, String) },
}

impl Element {
    fn id(&self) -> u16 {
        match self {
            Element::Id(id) => *id,
            Element::IdAndInterface { concat } => concat.0,
        }
    }
}

/// The elements of all sets by the sets' names.
fn parse_sets(json: &str) -> Result<HashMap<String, Vec<Element>>> {
    let listing: Listing = serde_json::from_str(json)?;
    let sets = listing.nftables.into_iter().filter_map(|object| object.set);
    Ok(sets.map(|set| (set.name, set.elem)).collect())
}

fn parse_counters(save: &str) -> Result<Vec<CountedRule>> {
    let mut counted = Vec::new();
    let mut table = None;
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    for line in save.lines() {
        let unknown = || format!("not understood in iptables-save's output: {line}");
        let (rule, text, counters) = if let Some(name) = line.strip_prefix('*') {
            table = Some(table_kind(name).with_context(unknown)?);
            rules.clear();
            continue;
        } else if line.starts_with(':') {
            let (text, counters) = line.rsplit_once(' ').with_context(unknown)?;
            if text.ends_with(" -") {
                continue;
            }
            (false, text, counters)
        } else if line.starts_with('[') {
            let (counters, text) = line.split_once(' ').with_context(unknown)?;
            (true, text, counters)
        } else {
            continue;
        };
        let chain = match rule {
            true => text.split(' ').nth(1),
            false => text[1..].split(' ').next(),
        };
        let chain = chain.with_context(unknown)?.to_owned();
        let rule = rule.then(|| {
            let last = rules.entry(chain.clone()).or_default();
            *last += 1;
            *last
        });
        let table = table.with_context(unknown)?;
        counted.push(CountedRule {
            key: CounterKey { table, chain, rule },
            text: text.to_owned(),
            counters: bracketed(counters).with_context(unknown)?,
        });
    }
    Ok(counted)
}

fn table_kind(name: &str) -> Option<TableKind> {
    let mut kinds = TABLES.iter().filter(|table| table.1 == name);
    kinds.next().map(|table| table.0)
}

fn bracketed(counters: &str) -> Option<Counters> {
    let (packets, bytes) = counters
        .strip_prefix('[')?
        .strip_suffix(']')?
        .split_once(':')?;
    Some(Counters {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

/// The table, then the rule's words.
impl fmt::Display for CountedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TABLES.iter().find(|table| table.0 == self.key.table);
        write!(f, "{} {}", name.map_or("", |table| table.1), self.text)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Unseen => f.write_str("to no table"),
            Route::Refused => f.write_str("back to the sender"),
            Route::Unrouted => f.write_str("to nowhere"),
            Route::Held => f.write_str("to reassembly"),
            Route::Local => f.write_str("to this host"),
            Route::Via(interface) => write!(f, "out by {interface}"),
            Route::Out(interface) => write!(f, "from this host out by {interface}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "accepted",
            Verdict::Drop => "dropped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_table_and_chain() {
        let save = "# Generated\n*filter\n:INPUT DROP [3:180]\n:ours - [0:0]\n\
            [1:60] -A INPUT -s 10.0.0.0/8 -j ours\n[2:99] -A ours -j ACCEPT\n\
            [0:0] -A INPUT -j ours\nCOMMIT\n";
        let counted = parse_counters(save).expect("is a save text");
        let shown: Vec<String> = counted
            .iter()
            .map(|rule| {
                let CounterKey {
                    chain,
                    rule: position,
                    ..
                } = &rule.key;
                format!(
                    "{chain} {position:?} {} {}",
                    rule.counters.packets, rule.text
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "INPUT None 3 :INPUT DROP",
                "INPUT Some(1) 1 -A INPUT -s 10.0.0.0/8 -j ours",
                "ours Some(1) 2 -A ours -j ACCEPT",
                "INPUT Some(2) 0 -A INPUT -j ours",
            ]
        );
        assert!(parse_counters("[x:y] -A INPUT\n").is_err());
    }

    #[test]
    fn sets_are_read() {
        let listing = r#"{"nftables": [
            {"metainfo": {}},
            {"set": {"name": "input", "type": "integer", "elem": [7, 65535]}},
            {"set": {"name": "forwarded", "elem": [{"concat": [9, "eth0"]}]}},
            {"set": {"name": "accepted"}},
            {"chain": {"name": "input-151"}}
        ]}"#;
        let sets = parse_sets(listing).expect("is a listing");
        assert_eq!(sets.len(), 3);
        assert_eq!(sets["input"], [Element::Id(7), Element::Id(65535)]);
        assert_eq!(sets["accepted"], []);
        assert_eq!(
            sets["forwarded"],
            [Element::IdAndInterface {
                concat: (9, "eth0".into())
            }]
        );
        assert!(parse_sets("[]").is_err());
    }
}
