//! Extensions where the kernel would not have them: a rule is checked against every hook from which
//! a packet can come to it (ip_tables.c, `mark_source_chains`; x_tables.c, `xt_check_match`).

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, code};
use crate::ruleset::{Action, BaseMatch, Chain, Negatable, Network, NfHook, Rule, Table};
use crate::span::Span;

/// Finds extensions that a hook leads to and that may not stand there.
pub(crate) fn table(table: &Table, diagnostics: &mut Vec<Diagnostic>) {
    let hooks = hooks_of_chains(table);
    let mut last = None;
    for (chain, hooks) in table.chains.iter().zip(hooks) {
        for (extension, hook) in reachable(chain).flat_map(|rule| misplaced(rule, &hooks)) {
            // A line with several addresses stands for several rules.
            if last.replace(extension.span) != Some(extension.span) {
                diagnostics.push(extension.refusal(hook));
            }
        }
    }
}

/// For each chain, the hooks whose packets can come to it.
pub(crate) fn hooks_of_chains(table: &Table) -> Vec<Vec<NfHook>> {
    let chains = &table.chains;
    let names = chains.iter().map(|chain| chain.name.as_str());
    let index: HashMap<&str, usize> = names.zip(0..).collect();
    let mut hooks = vec![Vec::new(); chains.len()];
    for (root, chain) in chains.iter().enumerate() {
        let Some(builtin) = chain.builtin else {
            continue;
        };
        let mut waiting = vec![root];
        while let Some(at) = waiting.pop() {
            if hooks[at].contains(&builtin.hook) {
                continue;
            }
            hooks[at].push(builtin.hook);
            let targets = reachable(&chains[at]).filter_map(|rule| match &rule.action {
                Action::Jump(to) | Action::Goto(to) => index.get(to.value.as_str()),
                Action::Continue | Action::Verdict(_) | Action::Target(_) => None,
            });
            waiting.extend(targets);
        }
    }
    hooks
}

/// The rules up to the first that decides about every packet; the kernel looks no further.
pub(crate) fn reachable(chain: &Chain) -> impl Iterator<Item = &Rule> {
    let end = chain
        .rules
        .iter()
        .position(is_final)
        .map_or(chain.rules.len(), |at| at + 1);
    chain.rules[..end].iter()
}

/// Whether every packet that comes to the rule gets a verdict from it.
pub(crate) fn is_final(rule: &Rule) -> bool {
    let is_everything = |network: &Option<Negatable<Network>>| {
        network
            .as_ref()
            .is_none_or(|it| !it.negated && it.value.value.is_everything())
    };
    let BaseMatch {
        source,
        destination,
        in_interface,
        out_interface,
        protocol,
        fragment,
    } = &rule.base;
    matches!(rule.action, Action::Verdict(_))
        && rule.matches.is_empty()
        && is_everything(source)
        && is_everything(destination)
        && in_interface.is_none()
        && out_interface.is_none()
        && protocol.is_none()
        && fragment.is_none()
}

/// An extension in its rule.
struct Placed<'a> {
    name: &'a str,
    hooks: &'static [NfHook],
    span: Span,
}

impl Placed<'_> {
    fn refusal(&self, hook: NfHook) -> Diagnostic {
        let names: Vec<String> = self.hooks.iter().map(NfHook::to_string).collect();
        let message = format!(
            "{} cannot be used like this on packets of {hook}",
            self.name
        );
        Diagnostic::error(code::MISPLACED, self.span, message)
            .with_help(format!(
                "it may stand in {} and in chains that only these lead to",
                names.join(", ")
            ))
            .refusal("Invalid argument. Run `dmesg' for more information.")
    }
}

/// The extensions of a rule that may not see packets of these hooks, each with one such hook.
fn misplaced<'a>(
    rule: &'a Rule,
    hooks: &'a [NfHook],
) -> impl Iterator<Item = (Placed<'a>, NfHook)> {
    let matches = rule.matches.iter().map(|it| Placed {
        name: it.value.name(),
        hooks: it.value.hooks(),
        span: it.span,
    });
    let target = match &rule.action {
        Action::Target(it) => Some(Placed {
            name: it.value.name(),
            hooks: it.value.hooks(),
            span: it.span,
        }),
        Action::Continue | Action::Verdict(_) | Action::Jump(_) | Action::Goto(_) => None,
    };
    matches.chain(target).filter_map(|placed| {
        let hook = hooks.iter().find(|hook| !placed.hooks.contains(hook))?;
        Some((placed, *hook))
    })
}
