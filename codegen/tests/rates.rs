//! Matches that count and measure: the bytecode keeps the same state as the reference.

mod support;

use ipt2bpf_codegen::options::Options;
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use support::judges::check;
use support::texts::filter;
use support::universe::packets;

/// A rule with a limit that some of the packets are over.
fn limited() -> impl Strategy<Value = String> {
    let rates =
        prop::sample::select(&["100/sec", "6/sec", "3/sec", "90/min", "7/min", "1/hour"][..]);
    let verdicts = prop::sample::select(&["ACCEPT", "DROP", "RETURN"][..]);
    (rates, 1..4u8, verdicts).prop_map(|(rate, burst, verdict)| {
        format!("-A INPUT -m limit --limit {rate} --limit-burst {burst} -j {verdict}\n")
    })
}

proptest! {
    #[test]
    fn limits(rules in vec(limited(), 1..6), drawn in packets(60)) {
        for family in [Family::V4, Family::V6] {
            check(&filter(family, &rules.concat()), &drawn, &Options::default())?;
        }
    }
}
