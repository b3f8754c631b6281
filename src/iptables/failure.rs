//! How the commands of iptables fail: what they say and the exit codes, those of enum xtables_exittype
//! (xtables.h).

use std::io::Write;
use std::process::ExitCode;

use anyhow::Error;
use ipt2bpf_parser::diagnostic::{Diagnostic, InTool};

use super::{Program, VERSION};
use crate::failure::{Told, is_broken_pipe};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The words are wrong, or the table is not as they need it. The most important first; none for a
    /// command for the other family.
    Command(Vec<Diagnostic>),
    /// A text is wrong at a line.
    Line(usize, Box<Diagnostic>),
    /// The last table of a text is not complete at this line, the one behind the last.
    NoCommit(usize),
    /// Others hold the lock; so long was waited.
    Busy(Option<u32>),
    /// There is no filter to work on.
    NoFilter(Error),
    /// Anything else.
    Other(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Other(error.into())
    }
}

/// `OTHER_PROBLEM`
const OTHER: u8 = 1;
/// `PARAMETER_PROBLEM`
const USAGE: u8 = 2;
/// `VERSION_PROBLEM`
const VERSION_PROBLEM: u8 = 3;
/// `RESOURCE_PROBLEM`
const RESOURCE: u8 = 4;

/// Says what is wrong, and gives the exit code.
pub fn conclude(program: Program, result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    let (text, code) = failure.told(program);
    // Without standard error, there is no one to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

impl Failure {
    /// What is said on standard error, and the exit code.
    fn told(&self, program: Program) -> (String, u8) {
        let name = program.name();
        match self {
            Failure::Command(diagnostics) => match diagnostics.first() {
                Some(diagnostic) => of_diagnostic(program, diagnostic, ""),
                None => (hint(program), USAGE),
            },
            Failure::Line(line, diagnostic) => match diagnostic.in_tool.as_deref() {
                Some(InTool::Refusal(_)) => (format!("{name}: line {line} failed\n"), OTHER),
                _ => of_diagnostic(
                    program,
                    diagnostic,
                    &format!("Error occurred at line: {line}\n"),
                ),
            },
            Failure::NoCommit(line) => (format!("{name}: COMMIT expected at line {line}\n"), OTHER),
            Failure::Busy(waited) => {
                let advice = match waited {
                    None => "Perhaps you want to use the -w option?".to_owned(),
                    Some(seconds) => format!("Stopped waiting after {seconds}s."),
                };
                let text = format!("Another app is currently holding the xtables lock. {advice}\n");
                (text, RESOURCE)
            }
            Failure::NoFilter(error) => (format!("{name} {VERSION}: {error:#}\n"), VERSION_PROBLEM),
            // Messages have said it already.
            Failure::Other(error) if error.is::<Told>() => (String::new(), OTHER),
            Failure::Other(error) if is_broken_pipe(error) => (String::new(), 0),
            Failure::Other(error) => (format!("{name} {VERSION}: {error:#}\n"), OTHER),
        }
    }
}

fn of_diagnostic(program: Program, diagnostic: &Diagnostic, place: &str) -> (String, u8) {
    let name = program.name();
    let hint = hint(program);
    match diagnostic.in_tool.as_deref() {
        Some(InTool::Usage(text)) => (format!("{name} {VERSION}: {text}\n{place}{hint}"), USAGE),
        Some(InTool::Bare(text)) => (format!("{text}\n{place}{hint}"), USAGE),
        Some(InTool::Refusal(text)) => (format!("{name}: {text}\n"), OTHER),
        Some(InTool::Unsupported(text)) => (
            format!(
                "{name} {VERSION}: {text}\nPerhaps {name} or your kernel needs to be upgraded.\n"
            ),
            VERSION_PROBLEM,
        ),
        // What the tool would say is not known; what is wrong is.
        None => {
            let message = &diagnostic.message;
            let help = diagnostic.help.as_deref();
            let help = help.map_or(String::new(), |help| format!("; {help}"));
            (
                format!("{name} {VERSION}: {message}{help}\n{place}{hint}"),
                USAGE,
            )
        }
    }
}

fn hint(program: Program) -> String {
    let name = program.name();
    format!("Try `{name} -h' or '{name} --help' for more information.\n")
}
