//! Properties of the parser on random rulesets and on damaged texts.

use ipt2bpf_parser::arbitrary::ruleset;
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::{Sources, Span};
use ipt2bpf_parser::{Counts, ParseOptions, Parsed, Style, parse, render};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

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

/// One way to damage a text: what is done there, up to the other place, with a byte.
#[derive(Clone, Debug)]
struct Damage {
    at: Index,
    other: Index,
    kind: u8,
    byte: u8,
}

fn damage() -> impl Strategy<Value = Damage> {
    (any::<Index>(), any::<Index>(), 0..6_u8, any::<u8>()).prop_map(|(at, other, kind, byte)| {
        Damage {
            at,
            other,
            kind,
            byte,
        }
    })
}

impl Damage {
    fn to(&self, text: &mut Vec<u8>) {
        let at = self.at.index(text.len() + 1);
        let other = self.other.index(text.len() + 1);
        let (low, high) = (at.min(other), at.max(other));
        match self.kind {
            0 => text.truncate(at),
            1 => text.insert(at, self.byte),
            2 => text.insert(at, b"\"!-, :\\\n[]"[usize::from(self.byte) % 10]),
            3 if at < text.len() => text[at] = self.byte,
            4 if high - low < 40 => drop(text.drain(low..high)),
            _ => {
                let piece = text[low..high.min(low + 30)].to_vec();
                text.splice(at..at, piece);
            }
        }
    }
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

    #[test]
    fn any_bytes_never_panic(text in vec(any::<u8>(), 0..300)) {
        let mut whole = b"*filter\n".to_vec();
        whole.extend(text);
        let (sources, parsed) = read(whole, None);
        render(&parsed.diagnostics, &sources, Style::Plain);
        prop_assert!(!parsed.diagnostics.is_empty(), "there is no COMMIT");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes and words are changed, moved and lost. Whatever comes of it is parsed without a panic,
    /// its diagnostics can be shown, and a text without errors prints to one that says the same.
    /// Each ruleset is damaged in several ways, as it takes longer to make one than to read it.
    #[test]
    fn damaged_texts_never_panic(original in ruleset(), ways in vec(vec(damage(), 1..6), 1..32)) {
        let original = original.print(Counts::All);
        for damages in ways {
            let mut text = original.clone();
            for damage in damages {
                damage.to(&mut text);
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
    }
}
