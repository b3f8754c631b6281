//! `-m mark`: the packet's mark (libxt_mark, xt_mark.c).

use serde::Serialize;

use super::Masked;
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::masked;

/// The `mark` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark(pub Negatable<Masked>);

static MARK: Opt<Masked> = Opt::new(&["mark"], |value| masked(value.word(0))).invertible();

impl Extension for Mark {
    const NAME: &'static str = "mark";
    const OPTIONS: &'static [&'static OptionSpec] = &[&MARK.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&MARK).map(Self)
    }

    fn print(&self, line: &mut Line) {
        line.option(self.0.negated, "--mark");
        line.word(self.0.value.value);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("mark match");
        if self.0.negated {
            line.word("!");
        }
        line.word(self.0.value.value);
    }
}
