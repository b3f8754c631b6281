//! SCTP has a machine of its own in the kernel (net/netfilter/nf_conntrack_proto_sctp.c) and none here: its
//! connections are new until the other side answers, and no packet of theirs is invalid for its chunks,
//! verification tag or checksum. Whoever asks for the states of SCTP is told.

use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};

use super::resolve::protocol;
use crate::field::Field;
use crate::semantic::{FamilyFilter, Filter, Rule, Step, Test};

/// A warning at the first rule that is for SCTP only and asks for the packet's connection.
pub fn warning(filters: &[Filter]) -> Option<Diagnostic> {
    let families = filters.iter().flat_map(|filter| &filter.families);
    let rule = families.flat_map(rules).find(|rule| is_for_sctp(rule))?;
    Some(Diagnostic {
        severity: Severity::Warning,
        code: "sctp-state",
        message: "the rule asks for the state of SCTP connections, which are tracked without their chunks \
                  and tags: what netfilter calls INVALID may be NEW or ESTABLISHED here"
            .into(),
        span: rule.span,
        label: String::new(),
        help: Some("bound what begins a connection with `-m sctp --chunk-types only INIT`".into()),
        in_tool: None,
    })
}

fn rules(family: &FamilyFilter) -> impl Iterator<Item = &Rule> {
    let rules = family.chains.iter().flat_map(|chain| &chain.rules);
    rules.filter(|rule| rule.asks_for_connections())
}

fn is_for_sctp(rule: &Rule) -> bool {
    rule.steps.iter().any(|step| match step {
        Step::Check { test, .. } => wants_sctp(test),
        Step::Ask(_) | Step::Doom(_) => false,
    })
}

/// Whether no packet but one of SCTP passes.
fn wants_sctp(test: &Test) -> bool {
    match test {
        Test::All(parts) => parts.iter().any(wants_sctp),
        test => *test == Test::equal(Field::Protocol, protocol::SCTP.into()),
    }
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::span::Sources;
    use ipt2bpf_parser::{ParseOptions, parse};

    use crate::compile::compile;
    use crate::options::Options;

    fn said(rule: &str) -> Vec<&'static str> {
        let text = format!("*filter\n:INPUT ACCEPT\n-A INPUT {rule}\nCOMMIT\n");
        let mut sources = Sources::default();
        let id = sources.add("", text);
        let parsed = parse(&sources, id, &ParseOptions::default());
        let compiled = compile(&parsed.rulesets, &Options::default()).expect("compiles");
        compiled.diagnostics.iter().map(|it| it.code).collect()
    }

    #[test]
    fn who_asks_for_the_state_of_sctp_is_told_once() {
        assert_eq!(
            said("-p sctp --dport 7 -m conntrack --ctstate NEW"),
            ["sctp-state"]
        );
        for rule in [
            "-p tcp -m conntrack --ctstate NEW",
            "-m conntrack --ctstate NEW",
            "! -p sctp -m conntrack --ctstate NEW",
            "-p sctp --dport 7",
        ] {
            assert_eq!(said(rule), [""; 0], "{rule}");
        }
    }
}
