//! Random rulesets and random packets under every strategy: what a classifier decides, counters included, is
//! what the reference evaluator says.

mod support;

use ipt2bpf_codegen::classify::Strategy;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::ruleset::Family;
use proptest::prelude::*;
use support::judges::check;
use support::universe::{Seen, packets, ruleset, single_matches};

fn by(strategy: Strategy) -> Options {
    Options {
        strategy: Some(strategy),
        ..Options::default()
    }
}

fn classifier() -> impl proptest::strategy::Strategy<Value = Strategy> {
    proptest::sample::select(Strategy::CLASSIFIERS.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agree_on_random_rulesets(
        v4 in ruleset(Family::V4),
        v6 in ruleset(Family::V6),
        drawn in packets(40),
        strategy in classifier(),
    ) {
        check(&[v4, v6], &drawn, &by(strategy))?;
    }

    #[test]
    fn agree_on_single_matches(
        v4 in single_matches(Family::V4, Seen::Everywhere),
        v6 in single_matches(Family::V6, Seen::Everywhere),
        drawn in packets(60),
        strategy in classifier(),
    ) {
        check(&[v4, v6], &drawn, &by(strategy))?;
    }

    #[test]
    fn agree_on_single_matches_at_xdp(
        v4 in single_matches(Family::V4, Seen::AtXdp),
        v6 in single_matches(Family::V6, Seen::AtXdp),
        drawn in packets(60),
        strategy in classifier(),
    ) {
        check(&[v4, v6], &drawn, &Options { hooks: vec![Hook::Xdp], ..by(strategy) })?;
    }

    #[test]
    fn agree_as_global_functions(
        v4 in ruleset(Family::V4),
        v6 in ruleset(Family::V6),
        drawn in packets(20),
        strategy in classifier(),
    ) {
        let options = Options { target_kernel: Some(KernelVersion::GLOBAL_POINTERS), ..by(strategy) };
        check(&[v4, v6], &drawn, &options)?;
    }

    /// Whether a strategy that is asked for is taken at all.
    #[test]
    fn are_made_when_asked_for(v4 in ruleset(Family::V4)) {
        let compiled = compile(&[v4], &by(Strategy::Straight)).expect("what is drawn compiles");
        for (_, _, plan) in compiled.plans {
            prop_assert!(plan.segments.is_empty());
        }
    }
}
