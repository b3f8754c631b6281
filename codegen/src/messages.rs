//! What is to be said of rules, as messages for people or as JSON.
//!
//! The compiler says the same thing once per hook. Here what differs only in the hook becomes one
//! message that names all of them.

use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::span::Sources;
use serde::Serialize;

use crate::module::Hook;

/// A diagnostic and the hooks that it is about; none when it is about the text as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is said, naming all hooks.
    pub diagnostic: Diagnostic,
    /// The hooks.
    pub hooks: Vec<Hook>,
}

/// Joins the diagnostics that differ only in the hook they name; sorts by place in the text.
pub fn by_place(mut diagnostics: Vec<Diagnostic>) -> Vec<Message> {
    diagnostics.sort_by_key(|diagnostic| diagnostic.span);
    let mut parts: Vec<Parts> = Vec::new();
    for diagnostic in diagnostics {
        let part = Parts::of(diagnostic);
        let mut at_same_place = parts
            .iter_mut()
            .rev()
            .take_while(|known| known.diagnostic.span == part.diagnostic.span);
        match at_same_place.find(|known| known.is_same_but_for_hooks(&part)) {
            Some(known) => known.hooks.extend(part.hooks),
            None => parts.push(part),
        }
    }
    parts.into_iter().map(Parts::join).collect()
}

/// A diagnostic whose message is cut where it names a hook.
struct Parts {
    diagnostic: Diagnostic,
    hooks: Vec<Hook>,
    /// The message behind the hook; `diagnostic.message` is what stands before it.
    rest: String,
}

impl Parts {
    fn of(diagnostic: Diagnostic) -> Parts {
        let found = Hook::ALL.into_iter().find_map(|hook| {
            let (before, rest) = diagnostic.message.split_once(&format!(" at {hook}"))?;
            Some((hook, before.to_owned(), rest.to_owned()))
        });
        match found {
            Some((hook, message, rest)) => Parts {
                diagnostic: Diagnostic {
                    message,
                    ..diagnostic
                },
                hooks: vec![hook],
                rest,
            },
            None => Parts {
                diagnostic,
                hooks: Vec::new(),
                rest: String::new(),
            },
        }
    }

    fn is_same_but_for_hooks(&self, other: &Parts) -> bool {
        self.diagnostic == other.diagnostic && self.rest == other.rest
    }

    fn join(mut self) -> Message {
        self.hooks.sort();
        self.hooks.dedup();
        if !self.hooks.is_empty() {
            let names: Vec<&str> = self.hooks.iter().map(|hook| hook.section()).collect();
            let message = &mut self.diagnostic.message;
            *message = format!("{message} at {}{}", enumerate(&names), self.rest);
        }
        Message {
            diagnostic: self.diagnostic,
            hooks: self.hooks,
        }
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn enumerate<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `1 error`, `2 errors`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A message for programs.
#[derive(Serialize)]
pub struct JsonMessage<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing it is.
    pub code: &'a str,
    /// What is said.
    pub message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The words it is about.
    pub place: Option<JsonPlace<'a>>,
    #[serde(skip_serializing_if = "<[Hook]>::is_empty")]
    /// The hooks it is about.
    pub hooks: &'a [Hook],
    #[serde(skip_serializing_if = "str::is_empty")]
    /// What is said of the words.
    pub label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// A way out.
    pub help: Option<&'a str>,
}

/// Words of an input.
#[derive(Serialize)]
pub struct JsonPlace<'a> {
    file: &'a str,
    /// From 1.
    line: usize,
    /// Offsets in bytes from the start of the file.
    start: u32,
    end: u32,
    text: String,
}

impl<'a> JsonMessage<'a> {
    /// The same for programs.
    pub fn new(message: &'a Message, sources: &'a Sources) -> Self {
        let Diagnostic {
            severity,
            code,
            message: text,
            span,
            label,
            help,
            in_tool: _,
        } = &message.diagnostic;
        let (words, line) = sources.slice(*span);
        JsonMessage {
            severity: *severity,
            code,
            message: text,
            place: Some(JsonPlace {
                file: &sources.get(span.source).name,
                line,
                start: span.start,
                end: span.end,
                text: String::from_utf8_lossy(words).into_owned(),
            }),
            hooks: &message.hooks,
            label,
            help: help.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::span::Span;

    use super::*;

    fn said(message: &str) -> Diagnostic {
        Diagnostic::warning("effect", Span::default(), message)
    }

    fn texts(messages: &[&str]) -> Vec<String> {
        by_place(messages.iter().map(|message| said(message)).collect())
            .into_iter()
            .map(|message| message.diagnostic.message)
            .collect()
    }

    #[test]
    fn what_differs_in_the_hook_is_one_message() {
        assert_eq!(
            texts(&[
                "`-j LOG` at cgroup_skb/ingress: it only counts",
                "`-j LOG` at xdp: it only counts",
                "`-j LOG` at cgroup_skb/egress: it only counts",
            ]),
            ["`-j LOG` at cgroup_skb/ingress, cgroup_skb/egress and xdp: it only counts"]
        );
    }

    #[test]
    fn what_differs_in_more_stays_apart() {
        let apart = [
            "`-j REJECT` at cgroup_skb/ingress: no answer",
            "`-j REJECT` at cgroup_skb/egress: EPERM",
            "the table replaces another",
        ];
        assert_eq!(texts(&apart), apart);
    }
}
