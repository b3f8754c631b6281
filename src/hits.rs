//! What the packets of a capture have met: how often each rule, and how it ended.

use std::collections::HashMap;

use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::semantic::{CounterId, End, FamilyFilter, Filter, Verdict};
use ipt2bpf_parser::ruleset::Ruleset;

use crate::capture::IpPacket;
use ipt2bpf_codegen::explain::story::{Judgement, shout};
use ipt2bpf_codegen::messages::count;

/// Counts of packets.
#[derive(Debug, Default)]
pub struct Hits {
    /// Packets and bytes by what counted them.
    by_counter: HashMap<CounterId, Traffic>,
    accepted: usize,
    dropped: usize,
    /// Of how many only a part was captured.
    partial: usize,
    /// Frames that are neither IPv4 nor IPv6.
    pub not_ip: usize,
    /// IP packets that do not come to netfilter.
    pub unseen: usize,
    /// Packets that do not come to the hooks.
    pub elsewhere: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Traffic {
    packets: u64,
    bytes: u64,
}

/// A line of the table.
struct Row {
    traffic: Traffic,
    place: String,
    text: String,
}

impl Hits {
    /// Counts a packet that has met the rules.
    pub fn count(
        &mut self,
        filter: Option<&FamilyFilter>,
        packet: &IpPacket,
        judgement: &Judgement,
    ) {
        match judgement.verdict() {
            Verdict::Accept => self.accepted += 1,
            Verdict::Drop => self.dropped += 1,
        }
        if packet.captured < packet.bytes.len() {
            self.partial += 1;
        }
        if let (Some(filter), Judgement::Filtered(outcome, _)) = (filter, judgement) {
            for (counter, bytes) in outcome.counters(filter) {
                let traffic = self.by_counter.entry(counter).or_default();
                traffic.packets += 1;
                traffic.bytes += bytes;
            }
        }
    }

    /// The rules and policies that packets have met, those with most packets first, and how packets ended.
    pub fn table(
        &self,
        rulesets: &[Ruleset],
        layout: &CounterLayout,
        filters: &[Filter],
    ) -> String {
        let texts = texts(filters);
        let mut rows = Vec::new();
        let mut others = 0;
        for (counter, place) in places(rulesets, layout) {
            // What is not in the filters does not concern their hooks.
            let Some(text) = texts.get(&counter) else {
                continue;
            };
            match self.by_counter.get(&counter) {
                Some(&traffic) => rows.push(Row {
                    traffic,
                    place,
                    text: text.clone(),
                }),
                None => others += 1,
            }
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.traffic));
        let mut out = lines(&rows);
        if others > 0 {
            out += &format!("rules and policies that no packet met: {others}\n");
        }
        out + &self.totals()
    }

    fn totals(&self) -> String {
        let Hits {
            accepted,
            dropped,
            partial,
            not_ip,
            unseen,
            elsewhere,
            ..
        } = *self;
        let all = accepted + dropped + not_ip + unseen + elsewhere;
        let mut out = format!(
            "{}: {accepted} accepted, {dropped} dropped, {not_ip} not IP",
            count(all, "packet")
        );
        if unseen > 0 {
            out += &format!(", {unseen} broken or for another host, which netfilter does not see");
        }
        if elsewhere > 0 {
            out += &format!(", {elsewhere} skipped that come to no hook here");
        }
        out.push('\n');
        if partial > 0 {
            let partial = count(partial, "packet");
            out += &format!("{partial} captured in part: zeros stand for the rest\n");
        }
        out
    }
}

/// Every rule and policy with its place: family, table, chain, and the number or `policy`.
fn places(rulesets: &[Ruleset], layout: &CounterLayout) -> Vec<(CounterId, String)> {
    let mut places = Vec::new();
    for ruleset in rulesets {
        for table in &ruleset.tables {
            for chain in &table.chains {
                let (family, kind, name) = (ruleset.family, table.kind, &chain.name);
                if let Some(policy) = layout.policy(family, kind, name) {
                    places.push((policy, format!("{family} {kind} {name} policy")));
                }
                for (number, counter) in (1..).zip(layout.rules(family, kind, name)) {
                    let place = format!("{family} {kind} {name} {number}");
                    places.push((CounterId(counter), place));
                }
            }
        }
    }
    places
}

/// The rules and policies of filters, in words.
fn texts(filters: &[Filter]) -> HashMap<CounterId, String> {
    let mut texts = HashMap::new();
    let families = filters.iter().flat_map(|filter| &filter.families);
    for chain in families.flat_map(|family| &family.chains) {
        for rule in &chain.rules {
            texts.insert(rule.counter, rule.text.clone());
        }
        if let End::Policy(verdict, counter) = chain.end {
            texts.insert(counter, format!("-P {} {}", chain.name, shout(verdict)));
        }
    }
    texts
}

/// The rows under their heads, in columns.
fn lines(rows: &[Row]) -> String {
    let width = |head: &str, lengths: &mut dyn Iterator<Item = usize>| {
        lengths.max().unwrap_or(0).max(head.len())
    };
    let digits = |number: u64| number.to_string().len();
    let packets = width(
        "packets",
        &mut rows.iter().map(|row| digits(row.traffic.packets)),
    );
    let bytes = width(
        "bytes",
        &mut rows.iter().map(|row| digits(row.traffic.bytes)),
    );
    let place = width(
        "place",
        &mut rows.iter().map(|row| row.place.chars().count()),
    );
    let mut out = format!(
        "{:>packets$} {:>bytes$}  {:place$}  rule\n",
        "packets", "bytes", "place"
    );
    for row in rows {
        let Traffic {
            packets: met,
            bytes: sum,
        } = row.traffic;
        out += &format!(
            "{met:>packets$} {sum:>bytes$}  {:place$}  {}\n",
            row.place, row.text
        );
    }
    out
}
