//! `-m quota`: bytes that may pass (libxt_quota, xt_quota.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::number_of;

/// The `quota` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// `--quota`: bytes from the IP header on, left when the rule is loaded.
    pub bytes: Negatable<u64>,
}

static QUOTA: Opt<u64> = Opt::new(&["quota"], |value| number_of(value.word(0))).invertible();

impl Extension for Quota {
    const NAME: &'static str = "quota";
    const OPTIONS: &'static [&'static OptionSpec] = &[&QUOTA.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let bytes = arguments.need(&QUOTA)?;
        Ok(Self { bytes })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.bytes.negated, "--quota");
        line.word(self.bytes.value.value);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(format_args!("quota: {} bytes", self.bytes.value.value));
    }
}
