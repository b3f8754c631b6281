//! Rules that come and go in a segment whose classifier stays: the programs decide and count what the reference
//! evaluator says of the new rules, after every change.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipt2bpf_codegen::before::Before;
use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::emit::states::States;
use ipt2bpf_codegen::module::{Hook, MapKind, REUSED_MAPS, RULES_MAP};
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::plan::Decider;
use ipt2bpf_parser::ruleset::Ruleset;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::check;
use support::universe::packets;

/// Rules that no drawn packet matches, so many that there is a record of the segment.
const OTHERS: usize = 540;

/// The rules of INPUT, each with a number of its own, and those of a chain that it jumps to.
#[derive(Clone, Debug)]
struct Rules {
    input: Vec<(usize, String)>,
    next: usize,
}

impl Rules {
    fn new(drawn: &[String]) -> Self {
        let every = OTHERS / (drawn.len() + 1);
        let mut lines = Vec::new();
        for number in 0..OTHERS {
            let (high, low) = (number / 200, number % 200);
            lines.push(format!(
                "-s 172.16.{high}.{low} -p udp --sport {} -j DROP",
                1000 + number
            ));
            if number % every == every - 1 {
                lines.extend(drawn.get(number / every).cloned());
            }
        }
        let next = lines.len();
        Rules {
            input: lines.into_iter().enumerate().collect(),
            next,
        }
    }

    fn change(&mut self, change: &Change) {
        let length = self.input.len();
        match change {
            Change::Insert(at, rule) => {
                let rule = (self.next, rule.clone());
                self.input.insert(at.index(length + 1), rule);
                self.next += 1;
            }
            Change::Delete(at) => {
                self.input.remove(at.index(length));
            }
            Change::DeleteDrawn(at) => {
                let other = |rule: &&(usize, String)| !rule.1.contains("172.16.");
                let drawn: Vec<usize> = self.input.iter().filter(other).map(|it| it.0).collect();
                if !drawn.is_empty() {
                    let gone = drawn[at.index(drawn.len())];
                    self.input.retain(|rule| rule.0 != gone);
                }
            }
        }
    }

    fn text<'a>(input: impl Iterator<Item = &'a (usize, String)>) -> String {
        let input: String = input
            .map(|(_, rule)| format!("-A INPUT {rule}\n"))
            .collect();
        format!(
            "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:sub - [0:0]\n{input}\
             -A sub -p tcp --dport 22 -j RETURN\n-A sub -d 10.0.0.0/8 -j ACCEPT\n-A sub\nCOMMIT\n"
        )
    }
}

#[derive(Clone, Debug)]
enum Change {
    Insert(prop::sample::Index, String),
    Delete(prop::sample::Index),
    DeleteDrawn(prop::sample::Index),
}

fn rule() -> impl Strategy<Value = String> {
    let source = select(&["", "-s 10.0.0.1 ", "-s 10.0.0.0/25 ", "! -s 10.0.0.0/8 "][..]);
    let destination = select(&["", "-d 10.0.0.130 ", "-d 10.0.0.0/24 ", "-i eth0 "][..]);
    let protocol = select(
        &[
            "",
            "-p tcp ",
            "-p tcp --dport 22 ",
            "-p tcp --dport 0:60 ",
            "-p tcp --syn ",
            "-p udp --dport 53 ",
            "-p udp --sport 80 ",
            "-p icmp --icmp-type 8 ",
            "! -p tcp ",
        ][..],
    );
    let target = select(&["-j ACCEPT", "-j DROP", "-j RETURN", "-j sub", "-g sub", ""][..]);
    (source, destination, protocol, target)
        .prop_map(|(source, destination, protocol, target)| {
            format!("{source}{destination}{protocol}{target}")
        })
        .prop_filter("a rule has words", |rule| !rule.is_empty())
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<prop::sample::Index>(), rule()).prop_map(|(at, rule)| Change::Insert(at, rule)),
        any::<prop::sample::Index>().prop_map(Change::Delete),
        any::<prop::sample::Index>().prop_map(Change::DeleteDrawn),
    ]
}

fn rulesets(text: &str) -> Vec<Ruleset> {
    let mut sources = Sources::default();
    let id = sources.add("rules", text);
    let parsed = parse(&sources, id, &ParseOptions::default());
    assert_eq!(parsed.diagnostics, [], "{text}");
    parsed.rulesets
}

fn constants(compiled: &Compiled) -> BTreeMap<String, Vec<u8>> {
    let maps = compiled.module.maps.iter();
    maps.filter_map(|map| match &map.kind {
        MapKind::Constant { bytes } => Some((map.name.clone(), bytes.clone())),
        _ => None,
    })
    .collect()
}

/// What the new rules go on from.
fn before(compiled: &Compiled, old: &Rules, new: &Rules) -> Before {
    let mut constants = constants(compiled);
    let text = constants[RULES_MAP].clone();
    constants.retain(|name, _| REUSED_MAPS.iter().any(|head| name.starts_with(head)));
    let known = rulesets(&Rules::text(old.input.iter()));
    let layout = CounterLayout::of_text(&known, &text);
    let numbers: Vec<u32> = layout.numbers().collect();
    // INPUT comes first, its policy before its rules; then the other policies and the rules of the chain.
    let places: HashMap<usize, usize> = old
        .input
        .iter()
        .zip(1..)
        .map(|(it, at)| (it.0, at))
        .collect();
    let mut same = vec![(numbers[0], 0)];
    for ((rule, _), place) in new.input.iter().zip(1..) {
        same.extend(places.get(rule).map(|&old| (numbers[old], place)));
    }
    let rest = numbers[old.input.len() + 1..]
        .iter()
        .zip(new.input.len() as u32 + 1..);
    same.extend(rest.map(|(&number, place)| (number, place)));
    let stays = |rule: usize| new.input.iter().any(|it| it.0 == rule);
    let gone = Rules::text(old.input.iter().filter(|it| !stays(it.0)));
    let gone = rulesets(&gone);
    let of_gone = old.input.iter().zip(&numbers[1..]);
    let of_gone = of_gone.filter(|(rule, _)| !stays(rule.0)).map(|it| *it.1);
    let mut gone_numbers = vec![numbers[0]];
    gone_numbers.extend(of_gone);
    gone_numbers.extend(&numbers[old.input.len() + 1..]);
    let before = Before {
        layout: CounterLayout::onto(&rulesets(&Rules::text(new.input.iter())), &layout, &same),
        counters: layout.room() + 64,
        states: States::of_text(&text),
        gone_layout: CounterLayout::new(&gone).numbered(gone_numbers),
        gone,
        ..Before::default()
    };
    before.with_constants(constants)
}

fn options(before: Option<Before>) -> Options {
    Options {
        hooks: vec![Hook::CgroupIngress],
        lasts: true,
        before: before.map(Arc::new),
        ..Options::default()
    }
}

fn is_reused(compiled: &Compiled) -> bool {
    let plans = compiled.plans.iter();
    let mut segments = plans.flat_map(|(_, _, plan)| &plan.segments);
    segments.any(|it| matches!(it.decider, Decider::Known { .. }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules_that_come_and_go_are_decided_as_the_reference_says(
        drawn in proptest::collection::vec(rule(), 1..8),
        changes in proptest::collection::vec(change(), 1..5),
        packets in packets(40),
    ) {
        let mut rules = Rules::new(&drawn);
        let mut known = rulesets(&Rules::text(rules.input.iter()));
        let mut compiled = compile(&known, &options(None)).expect("what is drawn compiles");
        for change in &changes {
            let old = rules.clone();
            rules.change(change);
            known = rulesets(&Rules::text(rules.input.iter()));
            let options = options(Some(before(&compiled, &old, &rules)));
            check(&known, &packets, &options)?;
            compiled = compile(&known, &options).expect("what is drawn compiles");
        }
    }
}

/// What is done to rules.
type Step = Box<dyn Fn(&mut Rules)>;

/// The other tests would pass if nothing were reused.
#[test]
fn classifiers_stay_where_few_rules_change() {
    let drawn: Vec<String> = ["-p tcp --dport 22 -j ACCEPT", "-s 10.0.0.1 -j DROP"]
        .map(str::to_owned)
        .to_vec();
    let mut rules = Rules::new(&drawn);
    let known = rulesets(&Rules::text(rules.input.iter()));
    let mut compiled = compile(&known, &options(None)).unwrap();
    assert!(!is_reused(&compiled));
    let end = rules.input.len();
    let steps: [(&str, Step); 4] = [
        (
            "a new first rule",
            Box::new(|rules| {
                rules
                    .input
                    .insert(0, (9000, "-s 10.0.0.130 -p tcp --dport 80 -j DROP".into()))
            }),
        ),
        (
            "a rule less",
            Box::new(|rules| drop(rules.input.remove(100))),
        ),
        (
            "a new last rule",
            Box::new(move |rules| {
                rules
                    .input
                    .insert(end, (9001, "-s 10.0.0.1 -p udp -j ACCEPT".into()))
            }),
        ),
        (
            "another rule for one",
            Box::new(|rules| rules.input[300] = (9002, "-s 10.9.0.1 -j DROP".into())),
        ),
    ];
    for (what, step) in steps {
        let old = rules.clone();
        step(&mut rules);
        let known = rulesets(&Rules::text(rules.input.iter()));
        let options = options(Some(before(&compiled, &old, &rules)));
        compiled = compile(&known, &options).unwrap();
        assert!(is_reused(&compiled), "{what}");
    }
    // A rule for all packets leaves nothing to what was.
    let old = rules.clone();
    rules.input.insert(0, (9003, "-j ACCEPT".into()));
    let known = rulesets(&Rules::text(rules.input.iter()));
    let options = options(Some(before(&compiled, &old, &rules)));
    assert!(!is_reused(&compile(&known, &options).unwrap()));
}
