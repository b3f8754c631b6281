//! With `--approximate`, no packet passes that netfilter could drop, whatever a match that cannot be decided
//! would have said.

mod support;

use ipt2bpf_codegen::compile::translate;
use ipt2bpf_codegen::evaluate::{Route, evaluate};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::packet::{Devices, Packet};
use ipt2bpf_codegen::routine::World;
use ipt2bpf_codegen::semantic::{Filter, Step, Test, Verdict};
use ipt2bpf_codegen::simplify::simplify;
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::{Action, Family, Rule, Ruleset, Verdict as Word};
use ipt2bpf_parser::span::{Span, Spanned};
use proptest::prelude::*;
use support::texts::filter;
use support::universe::{INTERFACES, packets, ruleset};

/// Rules with an undecidable match that the test decides, at most.
const UNDECIDED: usize = 4;

/// A match that no program can decide.
fn undecidable() -> Match {
    let rule = "-A INPUT -m rateest --rateest one --rateest-lt --rateest-bps 1bit\n";
    let mut rulesets = filter(Family::V4, rule);
    let rule = rulesets[0].tables[0].chains[0].rules.remove(0);
    rule.matches.into_iter().next().expect("one match").value
}

/// The rules that may be approximated, in order.
fn approximable(ruleset: &mut Ruleset) -> Vec<&mut Rule> {
    let chains = ruleset
        .tables
        .iter_mut()
        .flat_map(|table| &mut table.chains);
    let rules = chains.flat_map(|chain| &mut chain.rules);
    rules
        .filter(|rule| {
            matches!(
                rule.action,
                Action::Continue | Action::Verdict(Word::Accept | Word::Drop)
            )
        })
        .collect()
}

/// The meaning without undecidable matches, where the rules of these texts never match for a last, pure reason.
fn decided(rulesets: &[Ruleset], never: &[String]) -> Filter {
    let options = Options {
        hooks: vec![Hook::CgroupIngress],
        ..Options::default()
    };
    let mut filter = translate(rulesets, &options).0.remove(0);
    let chains = filter
        .families
        .iter_mut()
        .flat_map(|family| &mut family.chains);
    for rule in chains.flat_map(|chain| &mut chain.rules) {
        if never.contains(&rule.text) {
            rule.steps.push(Step::require(Test::Any(Vec::new())));
        }
    }
    simplify(&mut filter);
    filter
}

fn verdict(filter: &Filter, packet: &Packet<'_>) -> Verdict {
    let family = filter
        .families
        .iter()
        .find(|it| it.family == packet.family());
    family.map_or(Verdict::Accept, |family| {
        evaluate(family, packet, Route::Local, &mut World::default()).verdict
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_passes_that_could_be_dropped(
        exact in ruleset(Family::V4),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), UNDECIDED),
        drawn in packets(20),
    ) {
        let (mut exact, mut limited) = (exact.clone(), exact);
        let count = approximable(&mut exact).len();
        prop_assume!(count > 0);
        let mut texts = Vec::new();
        for pick in picks {
            let pick = pick.index(count);
            // A comment makes the rule's text its own.
            let mark = format!("undecided {pick}");
            for ruleset in [&mut exact, &mut limited] {
                let rule = approximable(ruleset).remove(pick);
                let text = mark.clone().into();
                let comment = ipt2bpf_parser::matches::comment::Comment { text };
                rule.matches.push(Spanned { value: Match::Comment(comment), span: Span::default() });
            }
            let rule = approximable(&mut limited).remove(pick);
            rule.matches.push(Spanned { value: undecidable(), span: Span::default() });
            texts.push(mark);
        }
        let options = Options {
            hooks: vec![Hook::CgroupIngress],
            approximate: true,
            ..Options::default()
        };
        let (approximated, _, diagnostics) = translate(&[limited], &options);
        prop_assert!(diagnostics.iter().all(|it| it.severity == Severity::Warning));

        let all: Vec<String> = decided(std::slice::from_ref(&exact), &[])
            .families
            .iter()
            .flat_map(|family| &family.chains)
            .flat_map(|chain| chain.rules.iter().map(|rule| rule.text.clone()))
            .filter(|text| texts.iter().any(|mark| text.contains(mark)))
            .collect();
        for assignment in 0..1u32 << all.len().min(UNDECIDED) {
            let never: Vec<String> = all
                .iter()
                .enumerate()
                .filter(|(index, _)| assignment & 1 << index != 0)
                .map(|(_, text)| text.clone())
                .collect();
            let possible = decided(std::slice::from_ref(&exact), &never);
            for packet in drawn.iter().filter(|packet| packet.family == Family::V4) {
                let devices = Devices { input: INTERFACES[packet.interface].into(), output: String::new() };
                let seen = Packet::new(Family::V4, &packet.bytes, &devices).expect("a header");
                if verdict(&possible, &seen) == Verdict::Drop {
                    prop_assert_eq!(verdict(&approximated[0], &seen), Verdict::Drop, "{:?}\n{}", packet, approximated[0]);
                }
            }
        }
    }
}

#[test]
fn jumps_that_cannot_be_decided_are_refused_all_the_same() {
    let options = Options {
        approximate: true,
        ..Options::default()
    };
    let rules = ":user - [0:0]\n\
        -A INPUT -m rateest --rateest one --rateest-lt --rateest-bps 1bit -j user\n\
        -A user -m rateest --rateest one --rateest-lt --rateest-bps 1bit -j RETURN";
    let (_, _, diagnostics) = translate(&filter(Family::V4, rules), &options);
    let errors = diagnostics
        .iter()
        .filter(|it| it.severity == Severity::Error);
    assert_eq!(
        errors.count(),
        2 * 2,
        "two rules, at the two hooks that run INPUT"
    );
}
