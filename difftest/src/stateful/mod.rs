//! Rules that ask for connections, on [conversations](conversation) in both directions, packet by packet:
//! netfilter with its connection tracking beside programs with theirs.
//!
//! Here every packet goes its whole way, so that its connection is remembered, and ends only behind that: the
//! taps are the last chains of INPUT and POSTROUTING. They stand there before the kernel's tracking does,
//! which so comes in front of them (`nf_hook_entries_grow`, net/netfilter/core.c). What the host itself would
//! say to a packet is dropped before any table sees it.

pub mod aim;
#[path = "../../../codegen/tests/support/conversation.rs"]
pub mod conversation;

use std::collections::HashSet;
use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::Counts;
use ipt2bpf_parser::ruleset::{Family, NfHook, Ruleset, Table, TableKind};

use crate::checksum::{checksum, crc32c};
use crate::compare::Subject;
use crate::constants::Constants;
use crate::frame::{Direction, Frame};
use crate::host::{Host, Routing};
use crate::netfilter::{self, CounterKey, Route, Verdict};
use crate::sender::{Fate, MARK};
use crate::subjects::program::Program;
use crate::subjects::{self, reference::Reference};
use crate::{exceptions, mirror, netns, reach, tool, trials};
use conversation::Sent;

/// Where the host under test stands, and which programs see the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Between the two: INPUT's rules stand in FORWARD ([`mirror::into_forward`]), and the program at XDP
    /// sees both directions, as does the reference.
    Router,
    /// It is one of the two, with programs at both cgroup hooks.
    Cgroup,
    /// It is one of the two, with a program at XDP and its companion.
    Xdp,
    /// As [`Setting::Router`], with a program that looks connections up in the kernel's table, before the
    /// kernel has the packet.
    KernelTable,
}

impl Setting {
    /// All with connections of ours.
    pub const ALL: [Setting; 3] = [Setting::Router, Setting::Cgroup, Setting::Xdp];

    fn hooks(self) -> &'static [Hook] {
        match self {
            Setting::Router | Setting::Xdp | Setting::KernelTable => &[Hook::Xdp],
            Setting::Cgroup => &[Hook::CgroupIngress, Hook::CgroupEgress],
        }
    }

    fn chains(self) -> &'static [NfHook] {
        use NfHook::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            Setting::Router | Setting::KernelTable => &[Prerouting, Forward, Postrouting],
            Setting::Cgroup => &[Prerouting, Input, Output, Postrouting],
            Setting::Xdp => &[Prerouting, Input],
        }
    }

    /// What the programs see of a ruleset here.
    pub fn stage(self, ruleset: &Ruleset) -> Ruleset {
        match self {
            Setting::Router | Setting::KernelTable => {
                reach::within(&mirror::into_forward(ruleset), self.chains())
            }
            Setting::Cgroup | Setting::Xdp => reach::within(ruleset, self.chains()),
        }
    }

    fn direction(self, sent: &Sent) -> Direction {
        match self {
            Setting::Cgroup | Setting::Xdp if sent.leaves => Direction::Sent,
            _ => Direction::Received,
        }
    }

    fn routing(self) -> Routing {
        match self {
            Setting::Router | Setting::KernelTable => Routing::transit(),
            Setting::Cgroup | Setting::Xdp => Routing::AllLocal,
        }
    }

    fn subjects(self, ruleset: &Ruleset) -> Result<Vec<Box<dyn Subject>>> {
        let none = Sets::default();
        Ok(match self {
            Setting::Router => vec![
                Box::new(Reference::new(ruleset, Hook::Xdp, &none)?),
                Box::new(Program::new(ruleset, Hook::Xdp, &none)?),
            ],
            Setting::Cgroup => vec![Box::new(Program::of_both_directions(
                ruleset,
                Hook::CgroupIngress,
            )?)],
            Setting::Xdp => vec![Box::new(Program::of_both_directions(ruleset, Hook::Xdp)?)],
            Setting::KernelTable => vec![Box::new(Program::of_kernel_table(ruleset)?)],
        })
    }

    fn route(self, frame: &Frame) -> Route {
        match (self, frame.direction) {
            (_, Direction::Sent) => Route::Out(frame.interface.clone()),
            (Setting::Router | Setting::KernelTable, _) => Route::Via(frame.interface.clone()),
            _ => Route::Local,
        }
    }
}

/// Some conversations and what they pass.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Where.
    pub setting: Setting,
    /// The ruleset, [staged](Setting::stage) already.
    pub text: String,
    /// Of the rules and the packets.
    pub family: Family,
    /// Who talks, with the interface they use.
    pub conversations: Vec<(String, Vec<Sent>)>,
}

/// What a trial showed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packets that were compared.
    pub packets: usize,
    /// Rules, and those of them that counted a packet.
    pub rules: [usize; 2],
    /// The first difference, in words.
    pub difference: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rules, hit] = self.rules;
        write!(f, "{} packets, {hit} of {rules} rules hit", self.packets)?;
        match &self.difference {
            Some(difference) => write!(f, "\n{difference}"),
            None => Ok(()),
        }
    }
}

/// Tries the chains of a ruleset that a setting's packets can meet, when its rules track connections there
/// and iptables loads it: so many conversations aimed at it. Rules that are refused are left out. None with
/// the reason when there is nothing to try.
///
/// # Errors
/// When the host cannot be made or a subject cannot be asked.
pub fn run(
    setting: Setting,
    family: Family,
    text: &str,
    conversations: u8,
    seed: u64,
) -> Result<Result<Report, String>> {
    let staged = match staged(setting, family, text) {
        Ok(staged) => staged,
        Err(reason) => return Ok(Err(format!("{reason:#}"))),
    };
    let received = Constants::of(&staged, Direction::Received);
    let sent = Constants::of(&staged, Direction::Sent);
    let trial = Trial {
        setting,
        text: String::from_utf8_lossy(&staged.print(Counts::Chains)).into_owned(),
        family,
        conversations: aim::conversations(setting, &received, &sent, conversations, seed),
    };
    trial.run().map(Ok)
}

/// What a ruleset is in a setting, without the rules that are refused there.
fn staged(setting: Setting, family: Family, text: &str) -> Result<Ruleset> {
    let readable = subjects::without_refused(family, text, &[])?;
    let mut ruleset = subjects::ruleset(family, &readable)?;
    ruleset.tables.retain(|table| table.kind != TableKind::Nat);
    let text = setting.stage(&ruleset).print(Counts::Chains);
    let text = String::from_utf8_lossy(&text);
    let text = subjects::without_refused(family, &text, setting.hooks())?;
    let ruleset = subjects::ruleset(family, &text)?;
    if !trials::tracks_connections(&ruleset) {
        bail!("no rule asks for connections");
    }
    // Chance is not the same on both sides.
    if text.contains("--mode random") {
        bail!("a rule depends on chance");
    }
    netns::isolated(|| netfilter::load(family, &text))?;
    Ok(ruleset)
}

impl Trial {
    /// Compares counters and verdicts behind each conversation. Where they differ, everything is done again
    /// with a look behind each packet, so that the first is found; a difference that does not show again is
    /// one of the clock, and none.
    ///
    /// # Errors
    /// When the host cannot be made, netfilter refuses the text, or a subject cannot be asked.
    pub fn run(&self) -> Result<Report> {
        let report = netns::isolated(|| self.pass(Look::Conversations))?;
        match report.difference {
            None => Ok(report),
            Some(_) => netns::isolated(|| self.pass(Look::Packets)),
        }
    }

    fn pass(&self, look: Look) -> Result<Report> {
        let mut interfaces: Vec<String> = Vec::new();
        for (interface, _) in &self.conversations {
            if !interfaces.contains(interface) {
                interfaces.push(interface.clone());
            }
        }
        let host = Host::new(&interfaces, &self.setting.routing())?;
        install_taps(self.family)?;
        let ruleset = subjects::ruleset(self.family, &self.text)?;
        let mut judges = Judges {
            family: self.family,
            met: met(&ruleset, self.setting),
            subjects: self.setting.subjects(&ruleset)?,
            accepted: 0,
        };
        netfilter::load(self.family, &self.text)?;
        let mut report = Report::default();
        for (interface, conversation) in &self.conversations {
            for (number, sent) in conversation.iter().enumerate() {
                let frame = self.frame(sent, interface, report.packets as u16);
                sleep(self.pause());
                let route = self.setting.route(&frame);
                let first = self.setting == Setting::KernelTable;
                if first {
                    judges.judge(&frame, &route, self.family)?;
                }
                if host.inject(&frame)? == Fate::Refused {
                    continue;
                }
                if !first {
                    judges.judge(&frame, &route, self.family)?;
                }
                report.packets += 1;
                if look == Look::Packets {
                    judges.compare(&mut report)?;
                    if let Some(difference) = &mut report.difference {
                        let known = std::fs::read_to_string(KNOWN).unwrap_or_default();
                        let packet = format!("packet {number}: {sent:?}\n{difference}\n{known}");
                        *difference = packet + &format!("{conversation:#?}");
                        return Ok(report);
                    }
                }
            }
            judges.compare(&mut report)?;
            if report.difference.is_some() {
                return Ok(report);
            }
        }
        Ok(report)
    }

    /// How long to wait before each packet. The lists of connlimit are not searched twice in a tick, and a
    /// connection that another processor has entered is waited for two ticks long.
    fn pause(&self) -> Duration {
        match self.text.contains("-m connlimit ") {
            true => Duration::from_millis(12),
            false => Duration::ZERO,
        }
    }

    fn frame(&self, sent: &Sent, interface: &str, number: u16) -> Frame {
        let packet = finished(sent, number);
        match self.setting.direction(sent) {
            Direction::Received => Frame::received(self.family, interface, &packet),
            Direction::Sent => Frame::sent(self.family, interface, &packet),
        }
    }
}

/// What the kernel's tracking knows.
const KNOWN: &str = "/proc/thread-self/net/nf_conntrack";

/// When both sides are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Conversations,
    Packets,
}

/// The counters of the chains that a setting's packets meet, of tables with rules: the others are none of a
/// program's.
fn met(ruleset: &Ruleset, setting: Setting) -> HashSet<CounterKey> {
    let mut part = reach::within(ruleset, setting.chains());
    let has_rules = |table: &Table| table.chains.iter().any(|chain| !chain.rules.is_empty());
    part.tables.retain(has_rules);
    subjects::counter_keys(&part).into_iter().collect()
}

/// Who is held against netfilter.
struct Judges {
    family: Family,
    /// What both count.
    met: HashSet<CounterKey>,
    subjects: Vec<Box<dyn Subject>>,
    /// How many packets every subject has accepted.
    accepted: u64,
}

impl Judges {
    fn judge(&mut self, frame: &Frame, route: &Route, family: Family) -> Result<()> {
        let mut verdicts = Vec::new();
        for subject in &mut self.subjects {
            verdicts.push(subject.verdict(frame, route)?);
        }
        if verdicts.iter().any(|it| *it != verdicts[0]) {
            bail!("the verdicts on a packet of {family:?} are {verdicts:?}: {frame:?}");
        }
        self.accepted += u64::from(verdicts[0] == Verdict::Accept);
        Ok(())
    }

    fn compare(&mut self, report: &mut Report) -> Result<()> {
        let counted = netfilter::counters(self.family)?;
        let rules = || counted.iter().filter(|it| it.key.rule.is_some());
        let hit = rules().filter(|it| it.counters.packets > 0);
        report.rules = [rules().count(), hit.count()];
        for subject in &mut self.subjects {
            let counters = subject.counters()?;
            for theirs in counted.iter().filter(|it| self.met.contains(&it.key)) {
                let ours = counters.get(&theirs.key).copied().unwrap_or_default();
                let same = ours == theirs.counters
                    || (ours.packets == theirs.counters.packets && exceptions::may_grow(&counted));
                if !same {
                    let found = report.difference.get_or_insert_default();
                    *found += &format!(
                        "{} counts [{}:{}], netfilter [{}:{}] {theirs}\n",
                        subject.name(),
                        ours.packets,
                        ours.bytes,
                        theirs.counters.packets,
                        theirs.counters.bytes
                    );
                }
            }
        }
        let theirs = passed(self.family)?;
        if theirs != self.accepted {
            let found = report.difference.get_or_insert_default();
            *found += &format!(
                "{} packets are accepted, by netfilter {theirs}\n",
                self.accepted
            );
        }
        Ok(())
    }
}

fn table(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The chains around all others; call it before any rule is loaded.
fn install_taps(family: Family) -> Result<()> {
    let last = i32::MAX;
    let table = table(family);
    let script = format!(
        "table {table} last {{\n\
         chain input {{\ntype filter hook input priority {last}\ncounter drop\n}}\n\
         chain postrouting {{\ntype filter hook postrouting priority {last}\ncounter drop\n}}\n\
         chain output {{\ntype filter hook output priority -301\nmeta mark != {MARK} drop\nmeta mark set 0\n}}\n\
         }}\n"
    );
    tool::run("nft", &["-f", "-"], &script).map(drop)
}

/// How many packets have come to an end behind all tables.
fn passed(family: Family) -> Result<u64> {
    let listing = tool::run("nft", &["list", "table", table(family), "last"], "")?;
    let words: Vec<&str> = listing.split_whitespace().collect();
    let counted = words.windows(2).filter(|pair| pair[0] == "packets");
    counted
        .map(|pair| pair[1].parse::<u64>().context("a number of packets"))
        .sum()
}

/// The number of the protocol.
const SCTP: u8 = 132;

/// Makes the packet one that hosts take: checksums right, and a number.
fn finished(sent: &Sent, number: u16) -> Vec<u8> {
    let mut bytes = sent.bytes.clone();
    let (header, protocol) = match sent.family {
        Family::V4 => (4 * usize::from(bytes[0] & 15), bytes[9]),
        Family::V6 => (40, bytes[6]),
    };
    let pseudo = match sent.family {
        Family::V4 => bytes[12..20].to_vec(),
        Family::V6 => bytes[8..40].to_vec(),
    };
    let length = (bytes.len() - header) as u16;
    let place = match (sent.family, protocol) {
        (_, 6) => Some(16),
        (_, 17) => Some(6),
        (Family::V4, 1) | (Family::V6, 58) => Some(2),
        _ => None,
    };
    let place = place.map(|place| header + place);
    if let Some(place) = place.filter(|place| place + 2 <= bytes.len()) {
        let mut covered = match (sent.family, protocol) {
            (Family::V4, 1) => Vec::new(),
            _ => [&pseudo[..], &length.to_be_bytes(), &[0, protocol]].concat(),
        };
        bytes[place..place + 2].fill(0);
        covered.extend(&bytes[header..]);
        let sum = checksum(&covered);
        bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    }
    if protocol == SCTP && length >= 12 {
        let place = header + 8;
        bytes[place..place + 4].fill(0);
        let sum = crc32c(&bytes[header..]);
        bytes[place..place + 4].copy_from_slice(&sum);
    }
    if sent.family == Family::V4 {
        bytes[4..6].copy_from_slice(&number.to_be_bytes());
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..header]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}
