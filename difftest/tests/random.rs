//! Random rulesets against netfilter: combinations that nobody writes.

use ipt2bpf_difftest::scene::Scene;
use ipt2bpf_difftest::{netns, packets, random};

const RULESETS: usize = 12;
const FRAMES: usize = 300;

#[test]
fn random_rulesets_judge_and_count_as_netfilter_does() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let seed = packets::seed().expect("a seed");
    let findings = random::run(RULESETS, FRAMES, seed);
    println!("{}", findings.tally);
    for scene in Scene::ALL {
        let tried = findings.tally.rulesets(scene);
        assert!(
            tried >= RULESETS / 4,
            "only {tried} rulesets could be tried as {scene:?}"
        );
    }
    assert!(
        findings.failures.is_empty(),
        "{}={seed}\n{}",
        packets::SEED_VARIABLE,
        findings.failures.join("\n")
    );
}
