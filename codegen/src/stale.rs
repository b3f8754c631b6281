//! Matches that read bytes of the IP header which targets of the same hook have changed in netfilter.
//!
//! `-j TTL`, `HL`, `TOS` and `DSCP` change what later rules see of these fields, but not the packet, which a
//! cgroup_skb program may not write. So matches on raw bytes (`u32`, `bpf`, `string`) would see the old ones.

use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::span::Span;

use crate::module::Hook;
use crate::semantic::{FamilyFilter, Rule, Step};

/// One error for each rule that reads such bytes. Which rule comes first is not asked: a chain may be
/// reached on many ways.
pub fn diagnostics(filter: &FamilyFilter, hook: Hook) -> Vec<Diagnostic> {
    let rules = || filter.chains.iter().flat_map(|chain| &chain.rules);
    let mut effects = rules().flat_map(|rule| &rule.effects);
    if !effects.any(|effect| effect.work().changes_header()) {
        return Vec::new();
    }
    let reading = rules().filter(|rule| reads_bytes(rule));
    reading.map(|rule| refused(rule.span, hook)).collect()
}

fn reads_bytes(rule: &Rule) -> bool {
    rule.steps.iter().any(|step| match step {
        Step::Ask(routine) => routine.work().sees_hops(),
        _ => false,
    })
}

fn refused(span: Span, hook: Hook) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: "changed-header",
        message: format!(
            "the rule cannot be translated at {hook}: it reads bytes of the IP header, and other rules \
             change the time to live or type of service there"
        ),
        span,
        in_tool: None,
        label: String::new(),
        help: Some(
            "ask for these fields with `-m ttl`, `hl`, `tos` or `dscp`, or change them at another hook"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::span::Sources;
    use ipt2bpf_parser::{ParseOptions, parse};

    use crate::compile::translate;
    use crate::options::Options;

    /// The codes of the errors at each hook.
    fn errors(rules: &str) -> Vec<(&'static str, bool)> {
        let text = format!("*mangle\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n{rules}\nCOMMIT\n");
        let mut sources = Sources::default();
        let id = sources.add("", text);
        let parsed = parse(&sources, id, &ParseOptions::default());
        let (_, _, said) = translate(&parsed.rulesets, &Options::default());
        let errors = said
            .iter()
            .filter(|it| it.severity == super::Severity::Error);
        errors
            .map(|it| (it.code, it.message.contains("cgroup_skb/egress")))
            .collect()
    }

    #[test]
    fn raw_bytes_of_a_changed_header_are_refused_where_it_changes() {
        let change = "-A OUTPUT -j TTL --ttl-set 9";
        let words = "-m u32 --u32 \"5&0xff=9\" -j DROP";
        assert_eq!(errors(&format!("{change}\n-A INPUT {words}")), []);
        let refused = errors(&format!("{change}\n-A OUTPUT {words}"));
        assert!(refused.contains(&("changed-header", true)), "{refused:?}");
    }

    #[test]
    fn fields_are_asked_for_as_before() {
        assert_eq!(
            errors("-A INPUT -j TTL --ttl-set 9\n-A INPUT -m ttl --ttl-eq 9 -j DROP"),
            []
        );
    }
}
