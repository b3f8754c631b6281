//! Rulesets whose layout is the difficulty: chains that join in exponentially many paths, more rules
//! than a function holds, rules that no packet reaches.

mod support;

use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::ruleset::Family;
use proptest::prelude::*;
use support::judges::check;
use support::texts::{filter, joining_chains, many_rules};
use support::universe::packets;

#[test]
fn joining_chains_are_as_long_as_their_text() {
    let rulesets = filter(Family::V4, &joining_chains());
    let compiled = compile(&rulesets, &Options::default()).expect("compiles");
    assert_eq!(compiled.kernel, KernelVersion::LOOP);
    assert!(
        compiled.object.len() < 200_000,
        "{} bytes",
        compiled.object.len()
    );
}

#[test]
fn chains_are_copied_for_kernels_without_a_loop_or_refused() {
    let options = Options {
        target_kernel: Some(KernelVersion::BASELINE),
        ..Options::default()
    };
    let error = compile(&filter(Family::V4, &joining_chains()), &options).expect_err("2^19 copies");
    insta::assert_snapshot!(error[0].message);
}

#[test]
fn rules_that_no_packet_reaches_have_counters_and_no_code() {
    let rulesets = filter(
        Family::V4,
        "-A INPUT ! -i + -p tcp -j DROP\n-A INPUT -j ACCEPT\n-A INPUT -s 10.0.0.1 -j DROP",
    );
    let compiled = compile(&rulesets, &Options::default()).expect("compiles");
    assert_eq!(compiled.counters.len(), 3 + 3);
    let stats = compiled.stats();
    let input = stats
        .stages
        .iter()
        .find(|stage| stage.stage == "filter:INPUT")
        .expect("INPUT");
    assert_eq!(
        input.nodes, 2,
        "the first two rules; neither the third nor the policy"
    );
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
