//! Rulesets whose layout is the difficulty: chains that join in exponentially many paths, more rules
//! than a function holds, rules that no packet reaches.

mod support;

use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::ruleset::Family;
use proptest::prelude::*;
use support::judges::check;
use support::texts::filter;
use support::universe::packets;

/// Twenty levels of chains, each of which the one above enters from two rules: 2^19 paths to the last.
fn joining_chains() -> String {
    let mut lines: String = (0..20).map(|level| format!(":level{level} - [0:0]\n")).collect();
    lines += "-A INPUT -j level0\n-A INPUT -p udp -g level15\n-A OUTPUT -j level17\n";
    for level in 0..19 {
        let next = level + 1;
        lines += &format!("-A level{level} -p tcp -m tcp --dport {level} -j level{next}\n");
        lines += &format!("-A level{level} -p udp -m udp --dport 22:{} -j level{next}\n", 60 + level);
        lines += &format!("-A level{level} -s 10.0.0.{level} -j RETURN\n");
    }
    lines + "-A level19 -p tcp -j ACCEPT\n-A level19 -m comment --comment end\n"
}

/// Rules of many kinds, of which few packets match any.
fn many_rules(count: usize) -> String {
    let mut lines = String::from(":INPUT DROP [0:0]\n:odd - [0:0]\n:even - [0:0]\n");
    for number in 0..count {
        let (high, low) = (number / 256, number % 256);
        lines += &match number % 5 {
            0 => format!("-A INPUT -s 10.{high}.{low}.0/24 -p tcp -m tcp --dport {number} -j ACCEPT\n"),
            1 => format!("-A INPUT -d 10.{high}.{low}.1 ! -p udp -j DROP\n"),
            2 => format!("-A INPUT -p udp -m multiport --ports {number},53,{}:65535 -j RETURN\n", 60000 + low),
            3 => format!("-A INPUT -i eth{low} -p tcp -m tcp --tcp-flags SYN,ACK SYN -j odd\n"),
            _ => format!("-A INPUT -p icmp -m icmp --icmp-type 8 -s 192.0.{low}.1 -g even\n"),
        };
    }
    for number in 0..12 {
        lines += &format!("-A odd -s 10.0.0.{number} -j even\n-A even -d 10.0.0.{number} -j ACCEPT\n");
    }
    lines
}

#[test]
fn joining_chains_are_as_long_as_their_text() {
    let rulesets = filter(Family::V4, &joining_chains());
    let compiled = compile(&rulesets, &Options::default()).expect("compiles");
    assert_eq!(compiled.kernel, KernelVersion::LOOP);
    assert!(compiled.object.len() < 200_000, "{} bytes", compiled.object.len());
}

#[test]
fn chains_are_copied_for_kernels_without_a_loop_or_refused() {
    let options = Options { target_kernel: Some(KernelVersion::BASELINE), ..Options::default() };
    let error = compile(&filter(Family::V4, &joining_chains()), &options).expect_err("2^19 copies");
    insta::assert_snapshot!(error[0].message);
}

#[test]
fn rules_that_no_packet_reaches_have_counters_and_no_code() {
    let rulesets = filter(
        Family::V4,
        "-A INPUT -p tcp -m tcp --dport 10:5 -j DROP\n-A INPUT -j ACCEPT\n-A INPUT -s 10.0.0.1 -j DROP",
    );
    let compiled = compile(&rulesets, &Options::default()).expect("compiles");
    assert_eq!(compiled.counters.len(), 3 + 3);
    let stats = compiled.stats();
    let input = stats.stages.iter().find(|stage| stage.stage == "filter:INPUT").expect("INPUT");
    assert_eq!(input.nodes, 2, "the range that never matches can still drop short packets");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn joining_chains_keep_their_meaning(drawn in packets(20)) {
        check(&filter(Family::V4, &joining_chains()), &drawn, &Options::default())?;
    }

    #[test]
    fn rules_in_several_functions_keep_their_meaning(drawn in packets(20)) {
        check(&filter(Family::V4, &many_rules(3000)), &drawn, &Options::default())?;
    }

    #[test]
    fn rules_with_shared_chains_keep_their_meaning(drawn in packets(20)) {
        check(&filter(Family::V4, &many_rules(6000)), &drawn, &Options::default())?;
    }
}
