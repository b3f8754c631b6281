//! Random rulesets and random packets: the compiled bytecode, interpreted, gives the verdict and the
//! counters of the reference evaluator.

mod support;

use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options, XdpPath};
use ipt2bpf_parser::ruleset::Family;
use proptest::prelude::*;
use support::judges::check;
use support::universe::{Seen, packets, ruleset, single_matches, xdp_ruleset};

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_random_rulesets(v4 in ruleset(Family::V4), v6 in ruleset(Family::V6), drawn in packets(40)) {
        check(&[v4, v6], &drawn, &Options::default())?;
    }

    #[test]
    fn on_single_matches(
        v4 in single_matches(Family::V4, Seen::Everywhere),
        v6 in single_matches(Family::V6, Seen::Everywhere),
        drawn in packets(60),
    ) {
        check(&[v4, v6], &drawn, &Options::default())?;
    }

    #[test]
    fn on_single_matches_at_xdp(
        v4 in single_matches(Family::V4, Seen::AtXdp),
        v6 in single_matches(Family::V6, Seen::AtXdp),
        drawn in packets(60),
    ) {
        check(&[v4, v6], &drawn, &Options { hooks: vec![Hook::Xdp], ..Options::default() })?;
    }

    #[test]
    fn with_global_functions(v4 in ruleset(Family::V4), v6 in ruleset(Family::V6), drawn in packets(20)) {
        let options = Options { target_kernel: Some(KernelVersion::GLOBAL_POINTERS), ..Options::default() };
        check(&[v4, v6], &drawn, &options)?;
    }

    #[test]
    fn with_one_path_at_xdp(
        v4 in xdp_ruleset(Family::V4),
        v6 in xdp_ruleset(Family::V6),
        drawn in packets(20),
        xdp_path in prop_oneof![Just(XdpPath::Input), Just(XdpPath::Forward)],
    ) {
        let options = Options { hooks: vec![Hook::Xdp], xdp_path, ..Options::default() };
        check(&[v4, v6], &drawn, &options)?;
    }

    #[test]
    fn with_one_family(v6 in ruleset(Family::V6), drawn in packets(20)) {
        check(&[v6], &drawn, &Options::default())?;
    }
}
