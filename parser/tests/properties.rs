//! Properties of the parser on random rulesets and on damaged texts.

use ipt2bpf_parser::arbitrary::ruleset;
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::{Sources, Span};
use ipt2bpf_parser::{Counts, ParseOptions, Parsed, Style, parse, render};
use proptest::prelude::*;

fn read(text: impl Into<Vec<u8>>, family: Option<Family>) -> (Sources, Parsed) {
    let mut sources = Sources::default();
    let id = sources.add("<test>", text);
    let parsed = parse(
        &sources,
        id,
        &ParseOptions {
            family,
            ..ParseOptions::default()
        },
    );
    (sources, parsed)
}

/// The same ruleset with its chains at no place.
fn without_places(mut ruleset: Ruleset) -> Ruleset {
    for chain in ruleset
        .tables
        .iter_mut()
        .flat_map(|table| &mut table.chains)
    {
        chain.span = Span::default();
    }
    ruleset
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_to_the_same(expected in ruleset()) {
        let text = expected.print(Counts::All);
        let (sources, mut parsed) = read(text, Some(expected.family));
        parsed.diagnostics.retain(|it| it.severity == Severity::Error);
        prop_assert_eq!(render(&parsed.diagnostics, &sources, Style::Plain), "");
        let found: Vec<Ruleset> = parsed.rulesets.into_iter().map(without_places).collect();
        prop_assert_eq!(found, vec![expected]);
    }

    /// Bytes and words are changed, moved and lost. Whatever comes of it is parsed without a panic,
    /// its diagnostics can be shown, and a text without errors prints to one that says the same.
    #[test]
    fn damaged_texts_never_panic(
        original in ruleset(),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6_u8, any::<u8>()), 0..6),
    ) {
        let mut text = original.print(Counts::All);
        for (at, other, kind, byte) in damages {
            let at = at.index(text.len().max(1)).min(text.len());
            let other = other.index(text.len().max(1)).min(text.len());
            let (low, high) = (at.min(other), at.max(other));
            match kind {
                0 => text.truncate(at),
                1 => text.insert(at, byte),
                2 => text.insert(at, b"\"!-, :\\\n[]"[usize::from(byte) % 10]),
                3 if !text.is_empty() && at < text.len() => text[at] = byte,
                4 if high - low < 40 => drop(text.drain(low..high)),
                _ => {
                    let piece = text[low..high.min(low + 30)].to_vec();
                    text.splice(at..at, piece);
                }
            }
        }
        let (sources, parsed) = read(text, None);
        render(&parsed.diagnostics, &sources, Style::Coloured);
        prop_assert!(parsed.diagnostics.iter().all(|it| it.span.start <= it.span.end));
        for ruleset in &parsed.rulesets {
            let printed = ruleset.print(Counts::All);
            let (_, again) = read(printed.clone(), Some(ruleset.family));
            let printed_again: Vec<u8> = again.rulesets.iter().flat_map(|it| it.print(Counts::All)).collect();
            if again.diagnostics.is_empty() {
                // A quote that is never closed puts the end of its line into a word, and iptables-save
                // prints some words without quotes: that end then is only an empty line.
                let printed = String::from_utf8_lossy(&printed).replace("\n\n", "\n");
                prop_assert_eq!(printed, String::from_utf8_lossy(&printed_again));
            }
        }
    }

    #[test]
    fn any_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut whole = b"*filter\n".to_vec();
        whole.extend(text);
        let (sources, parsed) = read(whole, None);
        render(&parsed.diagnostics, &sources, Style::Plain);
        prop_assert!(!parsed.diagnostics.is_empty(), "there is no COMMIT");
    }
}
