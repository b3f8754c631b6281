//! Targets that tell of packets and let them go on: the bytecode tells what the reference does.

mod support;

use ipt2bpf_codegen::options::{Options, XdpPath};
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::check;
use support::texts::rulesets;
use support::universe::packets;

/// The chains of the tables, the user chain of each last.
const TABLES: [(&str, &[&str]); 3] = [
    ("raw", &["PREROUTING", "OUTPUT", "own"]),
    (
        "mangle",
        &[
            "PREROUTING",
            "INPUT",
            "FORWARD",
            "OUTPUT",
            "POSTROUTING",
            "own",
        ],
    ),
    ("filter", &["INPUT", "FORWARD", "OUTPUT", "own"]),
];

/// A rule's matches and target for a chain; only built-in chains jump.
fn rule(table: &'static str, chain: &'static str) -> impl Strategy<Value = String> {
    let mut targets = vec![
        "-j LOG --log-prefix x",
        "-j NFLOG --nflog-size 30",
        "-j NFLOG --nflog-group 7",
        "-j ACCEPT",
        "-j RETURN",
        "",
    ];
    if table == "raw" {
        targets.push("-j TRACE");
    }
    if chain != "own" {
        targets.extend(["-j own", "-g own", "-j DROP"]);
    }
    let matches = select(
        &[
            "",
            "-p tcp",
            "-p udp -m udp --dport 53",
            "-s ::/1",
            "-d 8.0.0.0/5",
        ][..],
    );
    (matches, select(targets))
        .prop_map(move |(matches, target)| format!("-A {chain} {matches} {target}\n"))
}

fn table(name: &'static str, chains: &'static [&'static str]) -> impl Strategy<Value = String> {
    let rules: Vec<_> = chains
        .iter()
        .map(|chain| vec(rule(name, chain), 0..4).prop_map(|rules| rules.concat()))
        .collect();
    rules.prop_map(move |rules| format!("*{name}\n:own - [0:0]\n{}COMMIT\n", rules.concat()))
}

fn text() -> impl Strategy<Value = String> {
    let tables: Vec<_> = TABLES.map(|(name, chains)| table(name, chains)).into();
    tables.prop_map(|tables| tables.concat())
}

proptest! {
    #[test]
    fn what_is_told(text in text(), drawn in packets(20)) {
        for (family, other) in [(Family::V4, "::/1"), (Family::V6, "8.0.0.0/5")] {
            let lines = text.lines().filter(|line| !line.contains(other));
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            for xdp_path in [XdpPath::Auto, XdpPath::Forward] {
                let options = Options { xdp_path, ..Options::default() };
                check(&rulesets(family, &text), &drawn, &options)?;
            }
        }
    }
}
