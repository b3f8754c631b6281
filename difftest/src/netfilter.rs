//! The judge: netfilter of the current network namespace, with taps before and after its tables.
//!
//! The taps are nftables chains in a table of their own. They stand before raw in PREROUTING, before
//! mangle and behind security in INPUT, and behind mangle in POSTROUTING, and remember the packets that pass by [`Frame::id`]. They use no `ct`, so they do not switch
//! connection tracking on. Priorities are those of `enum nf_ip_hook_priorities`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use anyhow::{Context, Result, ensure};
use ipt2bpf_parser::ruleset::{Counters, Family, TableKind};
use serde::Deserialize;

use crate::frame::Frame;
use crate::host::Host;
use crate::tool;

/// Which built-in chains a received packet meets behind PREROUTING.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// INPUT: it is for this host.
    Input,
    /// FORWARD, then POSTROUTING: it is for another.
    Forward,
}

/// Where the kernel sends a frame, whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// To no table: the IP layer drops it.
    Unseen,
    /// From PREROUTING to nowhere: an unusable address, option or hop limit.
    Unrouted,
    /// A fragment of an IPv4 datagram that PREROUTING passes on and no other chain sees: it waits for
    /// the others before INPUT, or it is unrouted.
    Held,
    /// To this host.
    Local,
    /// To another, by this interface.
    Via(String),
}

impl Route {
    /// The chains that this leads through to a verdict, if any.
    pub fn path(&self) -> Option<Path> {
        match self {
            Route::Local => Some(Path::Input),
            Route::Via(_) => Some(Path::Forward),
            Route::Unseen | Route::Unrouted | Route::Held => None,
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
}

/// Where the taps saw a packet; the names are those of the sets.
#[derive(Default)]
struct Seen {
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
        let (name, id) = match family {
            Family::V4 => ("ip", "@nh,32,16"),
            Family::V6 => ("ip6", "@nh,16,16"),
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
            format!("table {name} tap {{\n"),
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
            // What the host itself sends, such as the answers of REJECT, would count in the rules.
            chain("output", -500, "drop"),
            "}\n".into(),
        ];
        tool::run("nft", &["-f", "-"], &taps.concat())?;
        Ok(Netfilter { host, family })
    }

    /// Loads the tables of a save text in place of those loaded before, all counters zero.
    ///
    /// # Errors
    /// When iptables or the kernel refuses the text.
    pub fn load(&self, text: &str) -> Result<()> {
        load(self.family, text)
    }

    /// Lets frames arrive one after the other and tells what became of each.
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
                Route::Unseen | Route::Local | Route::Via(_) => Judgement::Unseen,
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
                return Route::Unseen;
            };
            match seen.forwarded.get(&id) {
                Some(interface) => Route::Via(interface.clone()),
                None if seen.input.contains(&id) => Route::Local,
                None if frame.is_ipv4_fragment() => Route::Held,
                None => Route::Unrouted,
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
        for frame in frames {
            ensure!(frame.family == self.family, "a frame of the other family");
            self.host.inject(frame)?;
        }
        let family = match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let take = |set| -> Result<Vec<Element>> {
            let listing = tool::run("nft", &["-j", "list", "set", family, "tap", set], "")?;
            tool::run("nft", &["flush", "set", family, "tap", set], "")?;
            parse_set(&listing).with_context(|| format!("cannot read the tap {set}"))
        };
        let ids =
            |set| -> Result<HashSet<u16>> { Ok(take(set)?.iter().map(Element::id).collect()) };
        let forwarded = take("forwarded")?
            .into_iter()
            .filter_map(|element| match element {
                Element::IdAndInterface { concat } => Some(concat),
                Element::Id(_) => None,
            });
        Ok(Seen {
            arrived: ids("arrived")?,
            input: ids("input")?,
            accepted: ids("accepted")?,
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

/// The part of `nft -j list set` that we read (libnftables-json(5)).
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

fn parse_set(json: &str) -> Result<Vec<Element>> {
    let listing: Listing = serde_json::from_str(json)?;
    let set = listing.nftables.into_iter().find_map(|object| object.set);
    Ok(set.context("no set")?.elem)
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
            Route::Unrouted => f.write_str("to nowhere"),
            Route::Held => f.write_str("to reassembly"),
            Route::Local => f.write_str("to this host"),
            Route::Via(interface) => write!(f, "out by {interface}"),
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
        let set = |elements: &str| {
            format!(r#"{{"nftables":[{{"metainfo":{{}}}},{{"set":{{"elem":[{elements}]}}}}]}}"#)
        };
        assert_eq!(
            parse_set(&set("7,65535")).expect("is a set"),
            [Element::Id(7), Element::Id(65535)]
        );
        assert_eq!(
            parse_set(&set(r#"{"concat":[9,"eth0"]}"#)).expect("is a set"),
            [Element::IdAndInterface {
                concat: (9, "eth0".into())
            }]
        );
        assert!(parse_set(r#"{"nftables":[{"set":{"name":"input"}}]}"#).is_ok());
        assert!(parse_set(r#"{"nftables":[{"metainfo":{}}]}"#).is_err());
    }
}
