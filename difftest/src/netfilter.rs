//! The judge: netfilter of the current network namespace, with taps before and after its tables.
//!
//! The taps are nftables chains in a table of their own. They stand before raw in PREROUTING, before
//! mangle in INPUT and FORWARD, and behind security in INPUT and behind mangle in POSTROUTING, and
//! remember the packets that pass by [`Frame::id`]. They use no `ct`, so they do not switch
//! connection tracking on. Priorities are those of `enum nf_ip_hook_priorities`.

use std::collections::{BTreeMap, HashSet};
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
    /// No table saw it: the IP layer dropped it, or defragmentation took it.
    Unseen,
    /// PREROUTING passed it on, then routing dropped it: an unusable address, option or hop limit.
    Unrouted,
    /// A fragment of an IPv4 datagram that PREROUTING passed on and no other chain saw: it waits for
    /// the others before INPUT, or routing dropped it.
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
    forward: HashSet<u16>,
    accepted: HashSet<u16>,
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
        let set = |name| format!("set {name} {{\ntypeof {id}\nsize 65535\nflags dynamic\n}}\n");
        let chain = |hook: &str, priority: i32, action: &str| {
            let label = priority.unsigned_abs();
            format!(
                "chain {hook}-{label} {{\ntype filter hook {hook} priority {priority}\n{action}\n}}\n"
            )
        };
        let remember = |set| format!("add @{set} {{ {id} }}");
        let taps = [
            format!("table {name} tap {{\n"),
            set("arrived"),
            set("input"),
            set("forward"),
            set("accepted"),
            chain("prerouting", -301, &remember("arrived")),
            chain("input", -151, &remember("input")),
            chain("forward", -151, &remember("forward")),
            // Dropped here, so that nothing answers and no connection is confirmed.
            chain("input", 51, &(remember("accepted") + "\ndrop")),
            chain("postrouting", -149, &(remember("accepted") + "\ndrop")),
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
        tool::run(&self.program("restore"), &["-w"], text).map(drop)
    }

    /// Lets frames arrive one after the other and tells what became of each.
    ///
    /// `routes` is what [`route`](Self::route) said of the same frames: the kernel gives no reason
    /// for a packet that did not come through, so a packet that the tables dropped is known by
    /// having come through without them.
    ///
    /// # Errors
    /// When a frame cannot be injected or the taps cannot be read.
    pub fn judge(&self, frames: &[&Frame], routes: &[Judgement]) -> Result<Vec<Judgement>> {
        ensure!(frames.len() == routes.len(), "each frame needs its route");
        let seen = self.observe(frames)?;
        let judge = |(frame, route): (&&Frame, &Judgement)| match (frame.id(), *route) {
            (Some(id), Judgement::Decided(path, _)) if seen.arrived.contains(&id) => {
                let verdict = match seen.accepted.contains(&id) {
                    true => Verdict::Accept,
                    false => Verdict::Drop,
                };
                Judgement::Decided(path, verdict)
            }
            // Connection tracking, switched on by some rule, has taken a fragment.
            (_, Judgement::Decided(..)) => Judgement::Unseen,
            (_, route) => route,
        };
        Ok(frames.iter().zip(routes).map(judge).collect())
    }

    /// Says where each frame goes while no rules are loaded, when all that is decided is accepted.
    ///
    /// # Errors
    /// When a frame cannot be injected or the taps cannot be read.
    pub fn route(&self, frames: &[&Frame]) -> Result<Vec<Judgement>> {
        let seen = self.observe(frames)?;
        let route = |frame: &&Frame| match frame.id() {
            Some(id) if seen.input.contains(&id) => {
                Judgement::Decided(Path::Input, Verdict::Accept)
            }
            // What is dropped between the two taps of forwarding is not the tables' doing.
            Some(id) if seen.forward.contains(&id) && seen.accepted.contains(&id) => {
                Judgement::Decided(Path::Forward, Verdict::Accept)
            }
            Some(id) if seen.arrived.contains(&id) && frame.is_ipv4_fragment() => Judgement::Held,
            Some(id) if seen.arrived.contains(&id) => Judgement::Unrouted,
            _ => Judgement::Unseen,
        };
        Ok(frames.iter().map(route).collect())
    }

    /// All rules and policies with what they have counted since [`load`](Self::load), in the order
    /// of iptables-save.
    ///
    /// # Errors
    /// When iptables-save fails or its output is not understood.
    pub fn counters(&self) -> Result<Vec<CountedRule>> {
        parse_counters(&tool::run(&self.program("save"), &["-c"], "")?)
    }

    fn program(&self, action: &str) -> String {
        let tool = match self.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        format!("{tool}-legacy-{action}")
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
        let mut seen = Seen::default();
        for (name, ids) in [
            ("arrived", &mut seen.arrived),
            ("input", &mut seen.input),
            ("forward", &mut seen.forward),
            ("accepted", &mut seen.accepted),
        ] {
            let listing = tool::run("nft", &["-j", "list", "set", family, "tap", name], "")?;
            *ids = parse_set(&listing).with_context(|| format!("cannot read the tap {name}"))?;
            tool::run("nft", &["flush", "set", family, "tap", name], "")?;
        }
        Ok(seen)
    }
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
    elem: Vec<u16>,
}

fn parse_set(json: &str) -> Result<HashSet<u16>> {
    let listing: Listing = serde_json::from_str(json)?;
    let set = listing.nftables.into_iter().find_map(|object| object.set);
    Ok(set.context("no set")?.elem.into_iter().collect())
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

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Path::Input => "INPUT",
            Path::Forward => "FORWARD",
        })
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
        let json = r#"{"nftables":[{"metainfo":{}},{"set":{"name":"input","elem":[7,65535]}}]}"#;
        assert_eq!(
            parse_set(json).expect("is a set"),
            HashSet::from([7, 65535])
        );
        assert!(parse_set(r#"{"nftables":[{"metainfo":{}}]}"#).is_err());
    }
}
