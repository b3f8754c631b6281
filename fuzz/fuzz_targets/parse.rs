//! Any bytes: parsing, rendering and printing never panic, and what an error-free text prints says
//! the same when it is parsed again.
#![no_main]

use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, Style, parse, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut sources = Sources::default();
    let id = sources.add("fuzz", text);
    let parsed = parse(&sources, id, &ParseOptions::default());
    render(&parsed.diagnostics, &sources, Style::Plain);
    // Comments that hold a newline, and tests that save cannot show, do not survive.
    let is_canonical = parsed.diagnostics.is_empty() && !text.contains(&b'"');
    for ruleset in &parsed.rulesets {
        let printed = ruleset.print(Counts::All);
        let id = sources.add("printed", printed.clone());
        let again = parse(
            &sources,
            id,
            &ParseOptions {
                family: Some(ruleset.family),
                ..ParseOptions::default()
            },
        );
        if is_canonical {
            let errors = again
                .diagnostics
                .iter()
                .any(|it| it.severity == Severity::Error);
            assert!(
                !errors,
                "{}",
                render(&again.diagnostics, &sources, Style::Plain)
            );
            assert_eq!(again.rulesets[0].print(Counts::All), printed);
        }
    }
});
