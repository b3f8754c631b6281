//! The end of a line: the checks that need all of it, and its rules.

use bstr::ByteSlice;

use super::base::NAT_DROP;
use super::{ChainKind, Command, Jump, Line, Place, Result, Scan, Speaker};
use crate::diagnostic::{Diagnostic, Severity, code};
use crate::extension::Surroundings;
use crate::lossy;
use crate::matches::Match;
use crate::ruleset::{
    Action, BaseMatch, Family, InterfacePattern, Negatable, Network, NfHook, Rule, RuleSpan,
};
use crate::span::{Span, Spanned};
use crate::value;
use crate::words::Word;

/// The most rules and matches that one line may stand for: `-s` and `-d` lists multiply.
const EXPANSION_LIMIT: usize = 65_536;

impl Scan<'_> {
    /// Whether any part of a rule was given.
    pub(super) fn has_rule(&self) -> bool {
        let has_addresses = self.sources.is_some() || self.destinations.is_some();
        has_addresses
            || self.base != BaseMatch::default()
            || !self.matches.is_empty()
            || self.jump.is_some()
    }

    /// Checks what needs the whole line, and builds its rules.
    pub(super) fn finish(mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<Line> {
        let errors_before = diagnostics.len();
        let Some(command) = self.command.take() else {
            diagnostics.push(
                Diagnostic::error(code::BAD_COMMAND, self.line, "the line holds no command")
                    .with_help("a rule starts with -A CHAIN")
                    .usage("no command specified"),
            );
            return None;
        };
        if self.place.speaker == Speaker::Shell
            && let Err(diagnostic) = self.check_shell_line(&command)
        {
            diagnostics.push(diagnostic);
            return None;
        }
        if self.drops_in_nat(&command) {
            let message = "the nat table cannot DROP";
            diagnostics.push(
                Diagnostic::error(code::MISPLACED, self.line, message)
                    .with_help("drop in the filter table")
                    .usage(NAT_DROP),
            );
            return None;
        }
        let call = std::mem::take(&mut self.call);
        let chain = match &command {
            Command::Append(chain)
            | Command::Insert(chain, _)
            | Command::Replace(chain, _)
            | Command::Check(chain)
            | Command::Delete(chain) => chain,
            _ => {
                // With a command line, matches without a rule go unnoticed.
                if self.has_rule() && self.place.speaker == Speaker::File {
                    let message = "this command takes no rule";
                    diagnostics.push(Diagnostic::error(code::BAD_COMMAND, self.line, message));
                    return None;
                }
                return Some(Line {
                    command,
                    call,
                    rules: Vec::new(),
                });
            }
        };
        let mut fail = |result: Result<()>| diagnostics.extend(result.err());
        let mut base = self.base;
        fail(check_interfaces(&base, chain, self.place));
        let (sources, source_error) = addresses(self.sources, self.place.family);
        let (destinations, destination_error) = addresses(self.destinations, self.place.family);
        fail(source_error);
        fail(destination_error);
        diagnostics.extend(warn_never_matching(&base, self.place.family));
        diagnostics.extend(lossy_interfaces(&base).map(lossy::warning));
        if self.place.family == Family::V4
            && base.protocol.as_ref().is_some_and(|it| it.value.value == 0)
        {
            base.protocol = None;
        }

        let mut matches: Vec<Spanned<Match>> = Vec::with_capacity(self.matches.len());
        for draft in &self.matches {
            let surroundings = surroundings(self.place, &base, &matches);
            matches.extend(draft.build(surroundings, diagnostics));
        }
        let action = match &self.jump {
            None => Action::Continue,
            Some(Jump::Verdict(verdict)) => Action::Verdict(*verdict),
            Some(Jump::Chain(chain)) => Action::Jump(chain.clone()),
            Some(Jump::Goto(chain)) => Action::Goto(chain.clone()),
            Some(Jump::Extension(draft)) => {
                let built = draft.build(surroundings(self.place, &base, &matches), diagnostics);
                built.map_or(Action::Continue, Action::Target)
            }
        };
        let count = sources.len().saturating_mul(destinations.len());
        if count > 1 && count.saturating_mul(1 + matches.len()) > EXPANSION_LIMIT {
            diagnostics.push(
                Diagnostic::error(
                    code::TOO_LONG,
                    self.line,
                    "the address lists stand for too many rules",
                )
                .with_help(format!(
                    "one line may stand for {EXPANSION_LIMIT} with their matches; split it or use ipsets"
                )),
            );
        }
        if diagnostics[errors_before..]
            .iter()
            .any(|it| it.severity == Severity::Error)
        {
            return None;
        }
        let rule = Rule {
            counters: self.counters,
            base,
            matches,
            action,
            span: RuleSpan(self.line),
        };
        Some(Line {
            command,
            call,
            rules: with_addresses(rule, sources, destinations),
        })
    }
}

/// A rule with each pair of addresses.
fn with_addresses(
    mut rule: Rule,
    mut sources: Vec<Option<Negatable<Network>>>,
    mut destinations: Vec<Option<Negatable<Network>>>,
) -> Vec<Rule> {
    if sources.len() == 1 && destinations.len() == 1 {
        rule.base.source = sources.pop().flatten();
        rule.base.destination = destinations.pop().flatten();
        return vec![rule];
    }
    let mut rules = Vec::with_capacity(sources.len() * destinations.len());
    for source in &sources {
        for destination in &destinations {
            rule.base.source.clone_from(source);
            rule.base.destination.clone_from(destination);
            rules.push(rule.clone());
        }
    }
    rules
}

fn surroundings<'a>(
    place: &'a Place<'_>,
    base: &'a BaseMatch,
    matches: &'a [Spanned<Match>],
) -> Surroundings<'a> {
    Surroundings {
        family: place.family,
        table: place.table,
        base,
        matches,
        names: place.names,
    }
}

/// The addresses of an option, one without a test when the option is absent. On an error there are
/// none.
fn addresses(
    option: Option<Negatable<Word>>,
    family: Family,
) -> (Vec<Option<Negatable<Network>>>, Result<()>) {
    let Some(Negatable {
        negated,
        value: Spanned { value: word, span },
    }) = option
    else {
        return (vec![None], Ok(()));
    };
    let networks = match value::networks(word.as_bytes(), family) {
        Ok(networks) => networks,
        Err(problem) => return (Vec::new(), Err(problem.at(word.span))),
    };
    if negated && networks.len() > 1 {
        let error = Diagnostic::error(
            code::BAD_NEGATION,
            span,
            "a list of addresses cannot be inverted",
        )
        .with_help("use a chain of your own that returns for each address, or an ipset")
        .usage("! not allowed with multiple source or destination IP addresses");
        return (Vec::new(), Err(error));
    }
    let networks = networks.into_iter().map(|value| {
        Some(Negatable {
            negated,
            value: Spanned { value, span },
        })
    });
    (networks.collect(), Ok(()))
}

/// The tool refuses an interface that a packet cannot have in a built-in chain.
fn check_interfaces(base: &BaseMatch, chain: &Word, place: &Place<'_>) -> Result<()> {
    let ChainKind::Builtin(hook) = (place.chain)(chain.as_bytes().to_str().unwrap_or_default())
    else {
        return Ok(());
    };
    let (option, interface) = match hook {
        NfHook::Prerouting | NfHook::Input => ("-o", &base.out_interface),
        NfHook::Output | NfHook::Postrouting => ("-i", &base.in_interface),
        NfHook::Forward => return Ok(()),
    };
    match interface {
        None => Ok(()),
        Some(interface) => Err(Diagnostic::error(
            code::MISPLACED,
            interface.value.span,
            format!("{option} cannot stand in {hook}"),
        )
        .usage(format!("Can't use {option} with {hook}\n"))
        .with_help(match option {
            "-o" => "the way out is not known here; -i tells the way in",
            _ => "the way in is not known here; -o tells the way out",
        })),
    }
}

/// Interfaces that the tool prints so that they read as something else.
fn lossy_interfaces(base: &BaseMatch) -> impl Iterator<Item = Span> + '_ {
    let interfaces = [&base.in_interface, &base.out_interface].into_iter();
    interfaces
        .flatten()
        .filter(|it| {
            let InterfacePattern { name, .. } = &it.value.value;
            !name.is_empty() && !lossy::needs_no_quotes(name.as_bytes())
        })
        .map(|it| it.value.span)
}

/// Tests that cannot be true, of which the saved text shows nothing or the tool only warns.
fn warn_never_matching(base: &BaseMatch, family: Family) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for interface in [&base.in_interface, &base.out_interface]
        .into_iter()
        .flatten()
    {
        let InterfacePattern { name, .. } = &interface.value.value;
        if interface.negated && name.is_empty() {
            let message = "no interface is outside +, so this rule never matches";
            warnings.push(
                Diagnostic::warning(code::NEVER_MATCHES, interface.value.span, message)
                    .with_help("iptables-save prints such a test as nothing, and what it prints always matches"),
            );
        }
    }
    if let Some(protocol) = base
        .protocol
        .as_ref()
        .filter(|it| family == Family::V6 && !it.negated)
    {
        // The walk over IPv6 extension headers ends behind these, never at them.
        if let 43 | 44 | 51 | 60 = protocol.value.value {
            let message = "an extension header is never the protocol of an IPv6 packet, so this rule never matches";
            warnings.push(
                Diagnostic::warning(code::NEVER_MATCHES, protocol.value.span, message)
                    .with_help("use -m rt, frag, ah or dst"),
            );
        }
    }
    warnings
}
