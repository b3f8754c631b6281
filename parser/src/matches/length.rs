//! `-m length`: the length of the packet from the IP header on (libxt_length, xt_length.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::range::Range;
use crate::ruleset::Negatable;
use crate::value;

/// The `length` match: bytes with the IP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Length(pub Negatable<Range<u16>>);

static LENGTH: Opt<Range<u16>> =
    Opt::new(&["length"], |value| value::range(value.word(0))).invertible();

impl Extension for Length {
    const NAME: &'static str = "length";
    const OPTIONS: &'static [&'static OptionSpec] = &[&LENGTH.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&LENGTH).map(Self)
    }

    fn print(&self, line: &mut Line) {
        line.option(self.0.negated, "--length");
        line.word(self.0.value.value);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(format_args!(
            "length {}{}",
            sign(self.0.negated),
            self.0.value.value
        ));
    }
}
