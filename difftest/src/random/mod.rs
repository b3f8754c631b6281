//! Random rulesets of every stateless match and of the targets that go with them: combinations that nobody
//! writes.
//!
//! They are drawn in iptables' own words. What has no exact meaning at a hook is left out there by
//! [`trials::Refused::LeftOut`], so a form may be drawn before the compiler knows it.

mod matches;
mod targets;

use ipt2bpf_parser::ruleset::{Family, NfHook, TableKind};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::strategy::{Union, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::ipsets::Ipsets;
use crate::scene::Scene;
use crate::tally::Tally;
use crate::trials::{self, Manner, Outcome, Refused};

/// The user chains of every table. Each leads only to those behind it.
const USER_CHAINS: [&str; 3] = ["first", "second", "third"];
/// How many smaller rulesets are tried in place of one that shows a difference.
const REDUCTIONS: usize = 100;

/// What rulesets showed together.
#[derive(Default)]
pub struct Findings {
    /// The figures.
    pub tally: Tally,
    /// Why some could not be tried.
    pub skipped: Vec<String>,
    /// Each ruleset that failed, made as small as it still does, and how.
    pub failures: Vec<String>,
}

/// Tries so many rulesets, every second of IPv6, on so many frames in each scene.
pub fn run(rulesets: usize, frames: usize, seed: u64) -> Findings {
    let bytes: [u8; 32] = std::array::from_fn(|index| seed.to_le_bytes()[index % 8]);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut findings = Findings::default();
    let forms = [Family::V4, Family::V6].map(|family| (family, ruleset(family).boxed()));
    for ((family, form), number) in forms.iter().cycle().zip(0..rulesets) {
        let name = format!("random {number}");
        let trial = |scenes: &[Scene], text: &str| {
            let manner = Manner {
                refused: Refused::LeftOut,
                scenes,
            };
            trials::run_in(
                manner,
                &name,
                *family,
                text,
                &Ipsets::default(),
                frames,
                seed,
            )
        };
        let Ok(mut tree) = form.new_tree(&mut runner) else {
            continue;
        };
        match trial(&Scene::ALL, &tree.current()) {
            Ok(outcomes) if !outcomes.iter().any(differs) => {
                let reasons = outcomes.iter().filter_map(Outcome::reason);
                findings.skipped.extend(reasons.map(str::to_owned));
                findings.tally.add(outcomes);
            }
            failed => {
                let scenes = differing(&failed);
                let again = |text: &str| trial(&scenes, text);
                let failed = reduce(&mut tree, &again).unwrap_or(failed);
                let text = tree.current();
                findings.failures.push(match &failed {
                    Ok(outcomes) => {
                        let reports = outcomes.iter().filter(|it| differs(it));
                        let reports = reports.filter_map(Outcome::report);
                        let told: Vec<String> = reports.map(ToString::to_string).collect();
                        format!("{text}{}", told.join("\n"))
                    }
                    Err(error) => format!("{text}{error:#}"),
                });
                findings.tally.add(failed.unwrap_or_default());
            }
        }
    }
    findings
}

type Trial = anyhow::Result<Vec<Outcome>>;

fn differs(outcome: &Outcome) -> bool {
    outcome.report().is_some_and(|report| !report.is_clean())
}

/// The scenes that showed a difference; all when there is only an error.
fn differing(shown: &Trial) -> Vec<Scene> {
    let Ok(outcomes) = shown else {
        return Scene::ALL.to_vec();
    };
    let scenes = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Tried(scene, _) if differs(outcome) => Some(*scene),
        _ => None,
    });
    scenes.collect()
}

/// Makes a ruleset that fails smaller as long as it still does. What the smallest showed; none when no
/// smaller one fails.
fn reduce(
    tree: &mut impl ValueTree<Value = String>,
    trial: &dyn Fn(&str) -> Trial,
) -> Option<Trial> {
    let fails = |shown: &Trial| match shown {
        Ok(outcomes) => outcomes.iter().any(differs),
        Err(_) => true,
    };
    let mut smallest = None;
    let mut at_smallest = true;
    let mut moved = tree.simplify();
    for _ in 0..REDUCTIONS {
        if !moved {
            break;
        }
        let shown = trial(&tree.current());
        at_smallest = fails(&shown);
        moved = match at_smallest {
            true => {
                smallest = Some(shown);
                tree.simplify()
            }
            false => tree.complicate(),
        };
    }
    // Back to one that fails.
    while !at_smallest && tree.complicate() {
        let shown = trial(&tree.current());
        at_smallest = fails(&shown);
        if at_smallest {
            smallest = Some(shown);
        }
    }
    smallest
}

/// A save text of a family.
fn ruleset(family: Family) -> impl Strategy<Value = String> {
    let tables = [
        (0.4, TableKind::Raw, "raw"),
        (0.6, TableKind::Mangle, "mangle"),
        (0.9, TableKind::Filter, "filter"),
        (0.2, TableKind::Security, "security"),
    ];
    let tables = tables.map(|(share, kind, name)| weighted(share, table(family, kind, name)));
    tables
        .to_vec()
        .prop_map(|tables| tables.into_iter().flatten().collect())
}

fn table(family: Family, kind: TableKind, name: &'static str) -> BoxedStrategy<String> {
    let builtin = kind.hooks().iter().map(|&hook| {
        let policy = prop_oneof![9 => Just("ACCEPT"), 1 => Just("DROP")];
        let rules = rules(family, kind, Some(hook), &hook.to_string(), &USER_CHAINS);
        (
            policy.prop_map(move |policy| format!(":{hook} {policy} [0:0]\n")),
            rules,
        )
            .boxed()
    });
    let user = USER_CHAINS.iter().enumerate().map(|(at, name)| {
        let rules = rules(family, kind, None, name, &USER_CHAINS[at + 1..]);
        (Just(format!(":{name} - [0:0]\n")), rules).boxed()
    });
    let chains: Vec<_> = builtin.chain(user).collect();
    let text = chains.prop_map(move |chains| {
        let (declared, rules): (Vec<String>, Vec<String>) = chains.into_iter().unzip();
        format!("*{name}\n{}{}COMMIT\n", declared.concat(), rules.concat())
    });
    text.boxed()
}

/// The rules of a chain.
fn rules(
    family: Family,
    kind: TableKind,
    hook: Option<NfHook>,
    chain: &str,
    called: &[&str],
) -> BoxedStrategy<String> {
    let chain = chain.to_owned();
    let tested = (
        base(family, hook),
        matches::matches(family),
        targets::target(family, kind, hook),
    );
    let mut rule = vec![(3, tested.boxed())];
    if !called.is_empty() {
        // With few conditions, so that the rules of the chain can be met with theirs.
        let no_match = Just(String::new());
        let call = matches::text(&format!("-(j|j|j|g) ({})", called.join("|")));
        rule.push((1, (base(family, hook), no_match, call).boxed()));
    }
    let rule = Union::new_weighted(rule).prop_map(move |(base, matches, target)| {
        let words = [format!("-A {chain}"), base, matches, target];
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(" ") + "\n"
    });
    vec(rule, 0..=4).prop_map(|rules| rules.concat()).boxed()
}

/// Addresses and interfaces: one of them at most times, so that other conditions can be met as well.
fn base(family: Family, hook: Option<NfHook>) -> BoxedStrategy<String> {
    let network = match family {
        Family::V4 => {
            "(10\\.0\\.0\\.0/8|10\\.1\\.2\\.3|192\\.0\\.2\\.0/24|0\\.0\\.0\\.0/1|10\\.0\\.0\\.1/255\\.0\\.0\\.3)"
        }
        Family::V6 => "(2001:db8::/32|2001:db8::1|2001:db8:1::/48|2000::/4|2000::1/f000::3)",
    };
    let interface = "(eth0|eth1|eth\\+)";
    let mut forms = vec![
        (8, String::new()),
        (2, format!("(! )?-s {network}")),
        (2, format!("(! )?-d {network}")),
        (1, format!("-s {network} -d {network}")),
    ];
    if !matches!(hook, Some(NfHook::Output | NfHook::Postrouting)) {
        forms.push((1, format!("(! )?-i {interface}")));
    }
    if !matches!(hook, Some(NfHook::Prerouting | NfHook::Input)) {
        forms.push((1, format!("(! )?-o {interface}")));
    }
    if family == Family::V4 {
        forms.push((1, "(! )?-f".to_owned()));
    }
    let forms = forms
        .iter()
        .map(|(weight, form)| (*weight, matches::text(form)));
    Union::new_weighted(forms.collect()).boxed()
}
