//! `-j TRACE`: the kernel log tells of each rule that the packet matches from here on; it goes on
//! (libxt_TRACE, xt_TRACE.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, OptionSpec};
use crate::print::Line;
use crate::ruleset::TableKind;

/// The `TRACE` target, which has no options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Trace;

impl Extension for Trace {
    const NAME: &'static str = "TRACE";
    const TABLES: &'static [TableKind] = &[TableKind::Raw];
    const OPTIONS: &'static [&'static OptionSpec] = &[];

    fn build(_: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self)
    }

    fn print(&self, _: &mut Line) {}
}
