//! `-m cpu`: the processor that handles the packet (libxt_cpu, xt_cpu.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::word32;

/// The `cpu` match: a processor by number, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu(pub Negatable<u32>);

static CPU: Opt<u32> = Opt::new(&["cpu"], |value| {
    word32(value.word(0))
        .ok_or_else(|| Problem::new("a processor is a number from 0 to 4294967295"))
})
.invertible();

impl Extension for Cpu {
    const NAME: &'static str = "cpu";
    const OPTIONS: &'static [&'static OptionSpec] = &[&CPU.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&CPU).map(Self)
    }

    fn print(&self, line: &mut Line) {
        line.option(self.0.negated, "--cpu");
        line.word(self.0.value.value);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("cpu");
        if self.0.negated {
            line.word("!");
        }
        line.word(self.0.value.value);
    }
}
