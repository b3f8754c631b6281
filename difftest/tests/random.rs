//! Random rulesets against netfilter: combinations that nobody writes.

use ipt2bpf_difftest::scene::Scene;
use ipt2bpf_difftest::{netns, packets, random};

/// Few, as they are many elsewhere: `ipt2bpf-difftest random 500 2000`.
const RULESETS: usize = 24;
const FRAMES: usize = 300;
/// What rulesets without state are made of: each of these must be in a rule that a packet hits.
const EXTENSIONS: [&str; 20] = [
    "bpf",
    "dscp",
    "ecn",
    "icmp",
    "icmp6",
    "length",
    "mark",
    "multiport",
    "statistic",
    "tcp",
    "tos",
    "ttl",
    "hl",
    "u32",
    "udp",
    "LOG",
    "REJECT",
    "MARK",
    "DSCP",
    "TOS",
];

#[test]
fn random_rulesets_judge_and_count_as_netfilter_does() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let seed = packets::seed().expect("a seed");
    let findings = random::run(RULESETS, FRAMES, seed);
    println!("{}", findings.tally);
    assert!(
        findings.failures.is_empty(),
        "{}={seed}\n{}",
        packets::SEED_VARIABLE,
        findings.failures.join("\n")
    );
    for scene in Scene::ALL {
        let tried = findings.tally.rulesets(scene);
        assert!(
            tried >= RULESETS / 2,
            "{}={seed}: only {tried} rulesets could be tried as {scene:?}: {:#?}",
            packets::SEED_VARIABLE,
            findings.skipped
        );
    }
    let extensions = findings.tally.extensions();
    let unhit = EXTENSIONS
        .iter()
        .filter(|&name| extensions.get(name).is_none_or(|hits| hits.hit == 0));
    assert_eq!(
        unhit.count(),
        0,
        "{}={seed}: {extensions:#?}",
        packets::SEED_VARIABLE
    );
}
