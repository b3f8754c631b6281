//! `-j NOTRACK`: the packet is not tracked; it goes on. The kernel sees `CT --notrack` (libxt_CT,
//! xt_CT.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::TableKind;

/// The `NOTRACK` target, which has no options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Notrack;

impl Extension for Notrack {
    const NAME: &'static str = "NOTRACK";
    const TABLES: &'static [TableKind] = &[TableKind::Raw];
    const OPTIONS: &'static [&'static OptionSpec] = &[];

    fn build(_: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self)
    }

    fn print(&self, _: &mut Line) {}

    fn list(&self, line: &mut Listing<'_>) {
        line.word("NOTRACK");
    }
}
