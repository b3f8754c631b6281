//! `-m tcpmss`: the maximum segment size option of a TCP packet (libxt_tcpmss, xt_tcpmss.c).

use std::ops::RangeInclusive;

use serde::Serialize;

use super::PROTOCOL_TCP;
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::range::Range;
use crate::ruleset::Negatable;
use crate::value::range;

/// The `tcpmss` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tcpmss {
    /// `--mss`, in bytes.
    pub mss: Negatable<RangeInclusive<u16>>,
}

static MSS: Opt<RangeInclusive<u16>> = Opt::new(&["mss"], mss).invertible();

impl Extension for Tcpmss {
    const NAME: &'static str = "tcpmss";
    const OPTIONS: &'static [&'static OptionSpec] = &[&MSS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?;
        let mss = arguments.need(&MSS)?;
        Ok(Self { mss })
    }

    fn print(&self, line: &mut Line) {
        let range = &self.mss.value.value;
        line.option(self.mss.negated, "--mss");
        if range.start() == range.end() {
            line.word(range.start());
        } else {
            line.word(format_args!("{}:{}", range.start(), range.end()));
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let (first, last) = (self.mss.value.value.start(), self.mss.value.value.end());
        let sign = sign(self.mss.negated);
        match first == last {
            true => line.word(format_args!("tcpmss match {sign}{first}")),
            false => line.word(format_args!("tcpmss match {sign}{first}:{last}")),
        }
    }
}

fn mss(value: &Value<'_>) -> Result<RangeInclusive<u16>, Problem> {
    let Range { low, high } = range(value.word(0))?;
    if low > high {
        return Err(
            Problem::new(format!("the range {low}:{high} runs backwards"))
                .with_help(format!("write {high}:{low}")),
        );
    }
    Ok(low..=high)
}
