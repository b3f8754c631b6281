//! The runner on trial: a right subject and a wrong one, written by hand for one small ruleset each.

use std::collections::BTreeMap;

use anyhow::Result;
use ipt2bpf_difftest::compare::{Report, Subject, Trial};
use ipt2bpf_difftest::constants::{Aim, Constants};
use ipt2bpf_difftest::frame::{Direction, Frame};
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{CounterKey, Netfilter, Path, Route, Verdict};
use ipt2bpf_difftest::netns;
use ipt2bpf_difftest::packets::{self, Packets};
use ipt2bpf_parser::matches::PortRange;
use ipt2bpf_parser::ruleset::{Counters, Family, TableKind};

/// Frames of one trial.
const FRAMES: usize = 5000;

const V4_RULES: &str = "*filter\n:CHAIN ACCEPT\n\
    -A CHAIN -p tcp -m tcp --dport 22 -j DROP\n-A CHAIN -f -j DROP\nCOMMIT\n";
const V6_RULES: &str = "*filter\n:CHAIN ACCEPT\n\
    -A CHAIN -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n";

/// The meaning of the rulesets above, with what it counted.
struct ByHand {
    judge: fn(&[u8]) -> Step,
    /// The chain that its packets meet.
    chain: &'static str,
    sees_all_frames: bool,
    counters: BTreeMap<CounterKey, Counters>,
}

/// Who decides about a packet.
enum Step {
    /// The rule of this number, by dropping it.
    Rule(usize),
    /// A match that finds a broken header.
    HotDrop,
    /// The policy, by accepting it.
    Policy,
}

impl ByHand {
    fn new(judge: fn(&[u8]) -> Step) -> Self {
        ByHand {
            judge,
            chain: "FORWARD",
            sees_all_frames: false,
            counters: BTreeMap::new(),
        }
    }
}

impl Subject for ByHand {
    fn name(&self) -> &str {
        "the rules by hand"
    }

    fn sees_all_frames(&self) -> bool {
        self.sees_all_frames
    }

    fn verdict(&mut self, frame: &Frame, _: &Route) -> Result<Verdict> {
        let packet = frame.packet();
        let (rule, verdict) = match (self.judge)(packet) {
            Step::HotDrop => return Ok(Verdict::Drop),
            Step::Rule(number) => (Some(number), Verdict::Drop),
            Step::Policy => (None, Verdict::Accept),
        };
        let key = CounterKey {
            table: TableKind::Filter,
            chain: self.chain.into(),
            rule,
        };
        let counters = self.counters.entry(key).or_default();
        counters.packets += 1;
        counters.bytes += packet.len() as u64;
        Ok(verdict)
    }

    fn counters(&mut self) -> Result<BTreeMap<CounterKey, Counters>> {
        Ok(self.counters.clone())
    }
}

/// `-m tcp --dport 22` at an offset that is whole or not.
fn ssh(packet: &[u8], at: usize) -> Option<bool> {
    let header = packet.get(at..)?.get(..20)?;
    Some(header[2..4] == [0, 22])
}

fn v4(packet: &[u8]) -> Step {
    let offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
    match (packet[9], offset) {
        (6, 0) => match ssh(packet, usize::from(packet[0] & 15) * 4) {
            Some(true) => Step::Rule(1),
            Some(false) => Step::Policy,
            None => Step::HotDrop,
        },
        (6, 1) => Step::HotDrop,
        (_, 0) => Step::Policy,
        _ => Step::Rule(2),
    }
}

/// Forgets that a match drops what is too short for it.
fn v4_wrong(packet: &[u8]) -> Step {
    match v4(packet) {
        Step::HotDrop => Step::Policy,
        step => step,
    }
}

fn v6(packet: &[u8]) -> Step {
    let (mut next, mut at) = (packet[6], 40);
    while [0, 43, 44, 51, 60].contains(&next) {
        let need = if next == 43 || next == 44 { 4 } else { 2 };
        let Some(header) = packet.get(at..).and_then(|rest| rest.get(..need)) else {
            return Step::HotDrop;
        };
        if next == 44 && (header[2] != 0 || header[3] & !7 != 0) {
            return match [0, 43, 44, 51, 60].contains(&header[0]) {
                true => Step::HotDrop,
                false => Step::Policy,
            };
        }
        at += match next {
            44 => 8,
            51 => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        next = header[0];
    }
    match (next, ssh(packet, at)) {
        (6, None) => Step::HotDrop,
        (6, Some(true)) => Step::Rule(1),
        _ => Step::Policy,
    }
}

/// Runs one trial on generated frames; none when it cannot run here.
fn trial(family: Family, text: &str, mut subject: ByHand) -> Option<Report> {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return None;
    }
    let (direction, routing, path) = match subject.chain {
        "OUTPUT" => (Direction::Sent, Routing::OnLink, Path::Output),
        _ => (Direction::Received, Routing::transit(), Path::Forward),
    };
    let seed = packets::seed().expect("a seed");
    let constants = Constants {
        interfaces: vec!["eth0".into(), "eth1".into()],
        aims: vec![Aim {
            protocols: vec![6],
            destination_ports: vec![PortRange { low: 22, high: 22 }],
            ..Aim::default()
        }],
        ..Constants::none(family, direction)
    };
    let frames: Vec<Frame> = Packets::new(&constants, seed).take(FRAMES).collect();
    let report = netns::isolated(|| {
        let host = Host::new(&constants.interfaces, &routing)?;
        let netfilter = Netfilter::new(&host, family)?;
        Trial {
            name: "ssh",
            text: &text.replace("CHAIN", subject.chain),
            frames: &frames,
            paths: &[path],
        }
        .run(&netfilter, &mut [&mut subject])
    })
    .expect("runs");
    println!("seed {seed}: {report}");
    Some(report)
}

#[test]
fn a_right_subject_agrees_about_every_ipv4_packet() {
    if let Some(report) = trial(Family::V4, V4_RULES, ByHand::new(v4)) {
        assert!(report.is_clean());
        assert!(report.accepted > FRAMES / 10 && report.dropped > FRAMES / 10);
        assert_eq!(report.rules_hit, 2);
    }
}

#[test]
fn a_right_subject_agrees_about_every_ipv6_packet() {
    if let Some(report) = trial(Family::V6, V6_RULES, ByHand::new(v6)) {
        assert!(report.is_clean());
        assert!(report.accepted > FRAMES / 10 && report.dropped > FRAMES / 10);
        assert_eq!(report.rules_hit, 1);
    }
}

#[test]
fn a_right_subject_agrees_about_every_packet_that_the_host_sends() {
    let sent = |judge| ByHand {
        chain: "OUTPUT",
        ..ByHand::new(judge)
    };
    for (family, rules, subject) in [
        (Family::V4, V4_RULES, sent(v4)),
        (Family::V6, V6_RULES, sent(v6)),
    ] {
        if let Some(report) = trial(family, rules, subject) {
            assert!(report.is_clean());
            assert!(report.accepted > FRAMES / 10 && report.dropped > FRAMES / 10);
            assert!(report.refused + report.unrouted < FRAMES / 10);
            assert_eq!(report.unseen + report.held + report.elsewhere, 0);
        }
    }
}

#[test]
fn a_wrong_subject_is_told_its_first_mistake() {
    if let Some(report) = trial(Family::V4, V4_RULES, ByHand::new(v4_wrong)) {
        assert!(report.differences > 0);
        let first = &report.first[0];
        assert_eq!(first.netfilter, Verdict::Drop);
        assert_eq!(first.verdict, Verdict::Accept);
        assert!(
            first.netfilter_steps.is_empty(),
            "a hot drop counts nowhere"
        );
        assert_eq!(first.subject_steps, ["filter :FORWARD ACCEPT"]);
        assert!(first.packet.contains("IPv4 tcp"));
        assert!(matches!(first.route, Route::Via(_)));
        let policy = report
            .counters
            .iter()
            .find(|counter| counter.rule == "filter :FORWARD ACCEPT")
            .expect("the policy counted the accepted packets");
        assert_eq!(
            policy.counted.packets - policy.netfilter.packets,
            report.differences as u64
        );
    }
}

#[test]
fn a_subject_must_not_count_what_the_ip_layer_drops() {
    let subject = ByHand {
        sees_all_frames: true,
        ..ByHand::new(|packet| match packet.len() < 20 {
            true => Step::Policy,
            false => v4(packet),
        })
    };
    if let Some(report) = trial(Family::V4, V4_RULES, subject) {
        assert_eq!(report.differences, 0);
        assert!(report.counters.is_empty());
        assert_eq!(report.miscounts.len(), 1);
        assert!(!report.miscounts[0].steps.is_empty());
        assert!(!report.is_clean());
    }
}
