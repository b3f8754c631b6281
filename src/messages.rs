//! Messages on standard error, for people or as JSON.

use std::io::Write;

use anyhow::{Error, Result};
use ipt2bpf_codegen::messages::{JsonMessage, Message, by_place, count, enumerate};
use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Style, render};

use crate::cli::MessageFormat;
use crate::failure::{Exit, Told, Usage, is_broken_pipe, refused};

/// How many errors, and how many warnings, are shown to people.
const SHOWN: usize = 100;

/// Writes messages to standard error.
pub struct Reporter {
    /// How.
    pub format: MessageFormat,
}

impl Reporter {
    /// A reporter that writes in this way.
    pub fn new(format: MessageFormat) -> Self {
        Reporter { format }
    }

    /// Shows what is to be said of the input.
    ///
    /// # Errors
    /// [`Told`] when there is an error, or a warning and warnings are denied.
    pub fn conclude(
        &self,
        diagnostics: Vec<Diagnostic>,
        sources: &Sources,
        deny_warnings: bool,
    ) -> Result<()> {
        let messages = by_place(diagnostics);
        self.show(&messages, sources);
        let number = |severity| {
            let said = messages.iter().map(|message| message.diagnostic.severity);
            said.filter(|&found| found == severity).count()
        };
        let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
        if errors == 0 && (warnings == 0 || !deny_warnings) {
            return Ok(());
        }
        if self.format == MessageFormat::Human {
            let denied = match errors {
                0 => " (denied by --deny-warnings)",
                _ => "",
            };
            let counts = [(errors, "error"), (warnings, "warning")];
            let counts: Vec<String> = counts
                .into_iter()
                .filter(|(number, _)| *number > 0)
                .map(|(number, noun)| count(number, noun))
                .collect();
            say(&format!(
                "{}{denied}: nothing is made\n",
                enumerate(&counts)
            ));
        }
        Err(Told.into())
    }

    fn show(&self, messages: &[Message], sources: &Sources) {
        match self.format {
            MessageFormat::Json => {
                for message in messages {
                    eprint_json(&JsonMessage::new(message, sources));
                }
            }
            MessageFormat::Human => {
                // Neither errors nor warnings shall drown the others.
                for severity in [Severity::Warning, Severity::Error] {
                    let mut these = messages
                        .iter()
                        .map(|message| &message.diagnostic)
                        .filter(|diagnostic| diagnostic.severity == severity);
                    for diagnostic in these.by_ref().take(SHOWN) {
                        let one = std::slice::from_ref(diagnostic);
                        say(&render(one, sources, Style::Coloured));
                    }
                    match these.count() {
                        0 => {}
                        more => say(&format!(
                            "{more} more of this kind: `ipt2bpf check` lists all\n\n"
                        )),
                    }
                }
            }
        }
    }

    /// Tells something that is good to know and no reason to fail.
    pub fn note(&self, text: &str) {
        match self.format {
            MessageFormat::Human => say(&format!("warning: {text}\n")),
            MessageFormat::Json => eprint_json(&JsonMessage {
                severity: Severity::Warning,
                code: "note",
                message: text,
                place: None,
                hooks: &[],
                label: "",
                help: None,
            }),
        }
    }

    /// Tells why the run failed, unless messages have done so.
    pub fn failure(&self, error: &Error) {
        if error.is::<Told>() || error.is::<Exit>() || is_broken_pipe(error) {
            return;
        }
        match self.format {
            MessageFormat::Human => {
                say(&format!("error: {}\n", chain(error)));
                if error.is::<Usage>() {
                    say("\nFor more information, try '--help'.\n");
                }
            }
            MessageFormat::Json => eprint_json(&JsonMessage {
                severity: Severity::Error,
                code: match (error.is::<Usage>(), refused(error)) {
                    (true, _) => "usage",
                    (_, true) => "kernel",
                    _ => "failure",
                },
                message: &chain(error),
                place: None,
                hooks: &[],
                label: "",
                help: None,
            }),
        }
    }
}

/// An error with its causes, but for those that it has told itself.
fn chain(error: &Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            told if told.contains(&cause) => text,
            told => format!("{told}: {cause}"),
        }
    })
}

/// Writes to standard error. When nobody reads there, nobody misses it.
fn say(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Plain strings and numbers always serialise.
fn eprint_json(message: &JsonMessage<'_>) {
    if let Ok(line) = serde_json::to_string(message) {
        say(&(line + "\n"));
    }
}
