//! Random rulesets against netfilter: combinations that nobody writes.

use ipt2bpf_difftest::scene::Scene;
use ipt2bpf_difftest::{netns, packets, random};

/// Few, as they are many elsewhere: `cargo run --release -p ipt2bpf-difftest -- random 500 2000`.
const RULESETS: usize = 24;
const FRAMES: usize = 300;
/// Of 45 and more: how many different matches and targets must be in rules that some packet hits.
const EXTENSIONS_HIT: usize = 25;

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
    let hits = findings.tally.hits();
    let extensions = findings.tally.extensions();
    let different = extensions.values().filter(|hits| hits.hit > 0).count();
    assert!(
        3 * hits.hit > hits.rules && different >= EXTENSIONS_HIT,
        "{}={seed}: {} of {} rules hit, {different} extensions: {extensions:#?}",
        packets::SEED_VARIABLE,
        hits.hit,
        hits.rules
    );
}
