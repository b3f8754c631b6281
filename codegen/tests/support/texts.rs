//! Rulesets as text.

use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};

/// The rulesets of a text without errors.
pub fn rulesets(family: Family, text: &str) -> Vec<Ruleset> {
    let mut sources = Sources::default();
    let id = sources.add("test", text);
    let parsed = parse(&sources, id, &ParseOptions { family: Some(family) });
    let error = parsed.diagnostics.iter().find(|it| it.severity == Severity::Error);
    assert!(error.is_none(), "{error:?}");
    parsed.rulesets
}

/// The rulesets of a filter table with these lines.
pub fn filter(family: Family, lines: &str) -> Vec<Ruleset> {
    rulesets(family, &format!("*filter\n{lines}\nCOMMIT\n"))
}
