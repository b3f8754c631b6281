//! Random rulesets against netfilter: combinations that nobody writes.

use ipt2bpf_difftest::ipsets::Ipsets;
use ipt2bpf_difftest::scene::Scene;
use ipt2bpf_difftest::tally::Tally;
use ipt2bpf_difftest::trials::{self, Outcome};
use ipt2bpf_difftest::{netns, packets};
use ipt2bpf_parser::Counts;
use ipt2bpf_parser::arbitrary::ruleset_of;
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::{Action, Family, Rule, Ruleset};
use ipt2bpf_parser::targets::Target;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const RULESETS: usize = 40;
const FRAMES: usize = 300;

/// Whether the compiler gives the rule a meaning, and netfilter one that does not depend on time.
fn is_stateless(rule: &Rule) -> bool {
    let matches = rule.matches.iter().all(|extension| {
        matches!(
            extension.value,
            Match::Comment(_)
                | Match::Icmp(_)
                | Match::Icmp6(_)
                | Match::Multiport(_)
                | Match::Tcp(_)
                | Match::Udp(_)
        )
    });
    let action = match &rule.action {
        Action::Target(target) => matches!(target.value, Target::Log(_) | Target::Reject(_)),
        Action::Verdict(verdict) => *verdict != ipt2bpf_parser::ruleset::Verdict::Queue,
        Action::Continue | Action::Jump(_) | Action::Goto(_) => true,
    };
    matches && action
}

fn stateless(mut ruleset: Ruleset) -> Ruleset {
    for chain in ruleset
        .tables
        .iter_mut()
        .flat_map(|table| &mut table.chains)
    {
        chain.rules.retain(is_stateless);
    }
    ruleset
}

#[test]
fn random_rulesets_judge_and_count_as_netfilter_does() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let seed = packets::seed().expect("a seed");
    let bytes: [u8; 32] = std::array::from_fn(|index| seed.to_le_bytes()[index % 8]);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    for number in 0..RULESETS {
        let family = if number % 2 == 0 {
            Family::V4
        } else {
            Family::V6
        };
        let tree = ruleset_of(family).new_tree(&mut runner).expect("a ruleset");
        let text = stateless(tree.current()).print(Counts::Chains);
        let text = String::from_utf8_lossy(&text).into_owned();
        match trials::run(
            &format!("random {number}"),
            family,
            &text,
            &Ipsets::default(),
            FRAMES,
            seed,
        ) {
            Ok(outcomes) => {
                let reports = outcomes.iter().filter_map(Outcome::report);
                let differing = reports.filter(|report| !report.is_clean());
                failures.extend(differing.map(|report| format!("{text}{report}")));
                tally.add(outcomes);
            }
            Err(error) => failures.push(format!("{text}{error:#}")),
        }
    }
    println!("{tally}");
    for scene in Scene::ALL {
        let tried = tally.rulesets(scene);
        assert!(
            tried >= RULESETS / 2,
            "only {tried} rulesets could be tried as {scene:?}"
        );
    }
    assert!(
        failures.is_empty(),
        "{}={seed}\n{}",
        packets::SEED_VARIABLE,
        failures.join("\n")
    );
}
