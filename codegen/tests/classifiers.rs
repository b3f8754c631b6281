//! Random rulesets and random packets under every strategy: what a classifier decides, counters included, is
//! what the reference evaluator says.

mod support;

use ipt2bpf_codegen::classify::Strategy;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::net::Ipv4Addr;
use support::judges::check;
use support::texts::filter;
use support::universe::{Seen, packets, ruleset, single_matches};

/// Rules whose bounds are too many to take as many steps for each as where they are closest.
const CROWD: u32 = 2000;

/// The number of the last address of all.
const EDGE: u32 = CROWD;

/// Addresses that stand close together, every third, and others all over.
fn address(number: u32) -> u32 {
    match number {
        EDGE => u32::MAX,
        _ if number.is_multiple_of(3) => 0x0a00_0000 + number,
        _ => number.wrapping_mul(0x9e37_79b1),
    }
}

/// So many rules, each with an address, or two.
fn crowded(rules: u32, destinations: bool) -> String {
    let words = |number| Ipv4Addr::from(address(number));
    let rules = (0..rules).map(|number| {
        let destination = match destinations {
            true => format!(" -d {}", words(number.wrapping_mul(7) % rules)),
            false => String::new(),
        };
        format!("-A INPUT -s {}{destination} -j DROP\n", words(number))
    });
    rules.collect()
}

fn by(strategy: Strategy) -> Options {
    Options {
        strategy: Some(strategy),
        ..Options::default()
    }
}

fn classifier() -> impl proptest::strategy::Strategy<Value = Strategy> {
    select(Strategy::CLASSIFIERS.to_vec())
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agree_where_addresses_are_crowded(
        mut drawn in packets(60),
        places in vec((prop_oneof![0..CROWD, Just(EDGE)], 0..3u32, 0..CROWD), 60),
        rules in select(vec![60, CROWD]),
        destinations in any::<bool>(),
    ) {
        for (packet, (source, more, destination)) in drawn.iter_mut().zip(places) {
            if packet.family == Family::V4 && packet.bytes.len() >= 20 {
                let inside = |number| if number == EDGE { EDGE } else { number % rules };
                let [source, destination] = [source, destination].map(inside);
                let source = address(source).wrapping_add(more).wrapping_sub(1);
                packet.bytes[12..16].copy_from_slice(&source.to_be_bytes());
                packet.bytes[16..20].copy_from_slice(&address(destination).to_be_bytes());
            }
        }
        let strategy = match destinations {
            true => Strategy::Hybrid,
            false => Strategy::Lookup,
        };
        let options = Options { hooks: vec![Hook::CgroupIngress], ..by(strategy) };
        check(&filter(Family::V4, &crowded(rules, destinations)), &drawn, &options)?;
    }
}
