//! `-j CONNSECMARK`: a security mark is copied between packet and connection; the packet goes on
//! (libxt_CONNSECMARK, xt_CONNSECMARK.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::TableKind;

/// The `CONNSECMARK` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Connsecmark {
    /// `--save`: from the packet to the connection, if that has none yet.
    Save,
    /// `--restore`: from the connection to the packet, if that has none yet.
    Restore,
}

static SAVE: Opt<()> = switch(&["save"]);
static RESTORE: Opt<()> = switch(&["restore"]);

impl Extension for Connsecmark {
    const NAME: &'static str = "CONNSECMARK";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle, TableKind::Security];
    const OPTIONS: &'static [&'static OptionSpec] = &[&SAVE.spec, &RESTORE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        if arguments.has(&SAVE) {
            Ok(Self::Save)
        } else if arguments.has(&RESTORE) {
            Ok(Self::Restore)
        } else {
            Err(arguments
                .error(code::MISSING_OPTION, "CONNSECMARK is not told what to do")
                .with_help("add --save or --restore"))
        }
    }

    fn print(&self, line: &mut Line) {
        line.word(match self {
            Self::Save => "--save",
            Self::Restore => "--restore",
        });
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("CONNSECMARK");
        line.undashed(|line| self.print(line));
    }
}
