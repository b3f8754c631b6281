//! `-j MARK`: the packet's mark is changed; the packet goes on (libxt_MARK, xt_mark.c).

use serde::Serialize;

use super::mark_change::{self, MarkChange};
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;

/// The `MARK` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// What becomes of the packet's mark.
    #[serde(flatten)]
    pub change: MarkChange,
}

impl Extension for Mark {
    const NAME: &'static str = "MARK";
    const OPTIONS: &'static [&'static OptionSpec] = &mark_change::OPTIONS;

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        match MarkChange::read(arguments)? {
            Some(change) => Ok(Self {
                change: change.value,
            }),
            None => Err(arguments
                .error(code::MISSING_OPTION, "no mark is given")
                .usage("MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required")
                .with_help("add --set-mark, --and-mark, --or-mark or --xor-mark")),
        }
    }

    fn print(&self, line: &mut Line) {
        self.change.print(line);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("MARK");
        self.change.list(line);
    }
}
