//! `-m connmark`: the mark of the packet's connection (libxt_connmark, xt_connmark.c).

use serde::Serialize;

use super::Masked;
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::masked;

/// The `connmark` match. A packet without a connection never matches, inverted or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connmark {
    /// `--mark`
    pub mark: Negatable<Masked>,
}

static MARK: Opt<Masked> = Opt::new(&["mark"], |value| masked(value.word(0))).invertible();

impl Extension for Connmark {
    const NAME: &'static str = "connmark";
    const OPTIONS: &'static [&'static OptionSpec] = &[&MARK.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let mark = arguments.need(&MARK)?;
        Ok(Self { mark })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.mark.negated, "--mark");
        line.word(self.mark.value.value);
    }

    fn list(&self, line: &mut Listing<'_>) {
        let sign = sign(self.mark.negated);
        line.word(format_args!(
            "connmark match {sign} {}",
            self.mark.value.value
        ));
    }
}
