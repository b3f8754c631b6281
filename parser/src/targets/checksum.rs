//! `-j CHECKSUM`: the checksum that the sender left to its device is filled in; the packet goes on
//! (libxt_CHECKSUM, xt_CHECKSUM.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::TableKind;

/// The `CHECKSUM` target, which has one operation: `--checksum-fill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Checksum;

static FILL: Opt<()> = switch(&["checksum-fill"]);

impl Extension for Checksum {
    const NAME: &'static str = "CHECKSUM";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &[&FILL.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&FILL)?;
        Ok(Self)
    }

    fn print(&self, line: &mut Line) {
        line.word("--checksum-fill");
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("CHECKSUM fill");
    }
}
