//! Matches that would see what netfilter has changed as it was before.
//!
//! A cgroup_skb program may not write to packets. `-j TTL`, `HL`, `TOS` and `DSCP` change there what later
//! rules see of these fields, but matches on raw bytes (`u32`, `bpf`, `string`) would see the old ones.
//! `-j TCPMSS`, `TCPOPTSTRIP` and `ECN` change nothing there of the TCP header.

use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::span::Span;

use crate::field::Field;
use crate::module::Hook;
use crate::semantic::{FamilyFilter, Step, Test};

/// One error for each rule that reads what should have changed. Which rule comes first is not asked: a
/// chain may be reached on many ways.
pub fn diagnostics(filter: &FamilyFilter, hook: Hook) -> Vec<Diagnostic> {
    let rules = || filter.chains.iter().flat_map(|chain| &chain.rules);
    let effects = || rules().flat_map(|rule| &rule.effects);
    let ip = effects().any(|effect| effect.work().changes_header());
    let tcp = effects().any(|effect| effect.work().leaves_tcp_header());
    let reading = rules().filter_map(|rule| {
        let steps = || rule.steps.iter();
        let header = match () {
            () if ip && steps().any(reads_bytes) => Header::Ip,
            () if tcp && steps().any(|step| reads_bytes(step) || reads_tcp(step)) => Header::Tcp,
            () => return None,
        };
        Some(refused(rule.span, hook, header))
    });
    reading.collect()
}

/// What should have changed.
#[derive(Clone, Copy)]
enum Header {
    Ip,
    Tcp,
}

fn reads_bytes(step: &Step) -> bool {
    match step {
        Step::Ask(routine) => routine.work().sees_hops(),
        Step::Check { .. } | Step::Doom(_) => false,
    }
}

/// Whether it looks at options of TCP, or at the flags that the options of `-m tcp` leave out.
fn reads_tcp(step: &Step) -> bool {
    let (Step::Check { test, .. } | Step::Doom(test)) = step else {
        return false;
    };
    let mut reads = false;
    test.leaves(&mut |leaf| {
        reads |= match leaf {
            Test::TcpOption(_) => true,
            Test::Range { field, .. } => *field == Field::MaximumSegment,
            Test::Masked { field, mask, .. } => {
                *field == Field::MaximumSegment || (*field == Field::TcpFlags && mask & 0xc0 != 0)
            }
            Test::Not(_) | Test::All(_) | Test::Any(_) => false,
        };
    });
    reads
}

fn refused(span: Span, hook: Hook, header: Header) -> Diagnostic {
    let (what, changed, help) = match header {
        Header::Ip => (
            "bytes of the IP header",
            "the time to live or type of service",
            "ask for these fields with `-m ttl`, `hl`, `tos` or `dscp`, or change them at another hook",
        ),
        Header::Tcp => (
            "options or flags of the TCP header",
            "these, which programs cannot",
            "compile for xdp, whose programs write to packets, or change them at another hook",
        ),
    };
    let message = format!(
        "the rule cannot be translated at {hook}: it reads {what}, and other rules change {changed} there"
    );
    Diagnostic::error("changed-header", span, message).with_help(help)
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::diagnostic::Severity;
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
        let errors = said.iter().filter(|it| it.severity == Severity::Error);
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
