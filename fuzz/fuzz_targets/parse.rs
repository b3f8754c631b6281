//! Any bytes: parsing, rendering and printing never panic, nor does reading what is printed. Whether
//! that says the same is for tests of texts that iptables itself saves without loss.
#![no_main]

use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, Style, parse, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut sources = Sources::default();
    let id = sources.add("fuzz", text);
    let parsed = parse(&sources, id, &ParseOptions::default());
    render(&parsed.diagnostics, &sources, Style::Plain);
    for ruleset in &parsed.rulesets {
        let id = sources.add("printed", ruleset.print(Counts::All));
        let options = ParseOptions {
            family: Some(ruleset.family),
            ..ParseOptions::default()
        };
        let again = parse(&sources, id, &options);
        render(&again.diagnostics, &sources, Style::Plain);
    }
});
