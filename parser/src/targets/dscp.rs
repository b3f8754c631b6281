//! `-j DSCP`: the upper six bits of the TOS or traffic class byte are set; the packet goes on
//! (libxt_DSCP, xt_DSCP.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::matches::dscp::{class, codepoint};
use crate::print::Line;
use crate::ruleset::TableKind;

/// The `DSCP` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dscp {
    /// The codepoint, 0 to 63.
    pub codepoint: u8,
}

static SET_DSCP: Opt<u8> = Opt::new(&["set-dscp"], |value| codepoint(value.word(0)));
static SET_CLASS: Opt<u8> = Opt::new(&["set-dscp-class"], |value| class(value.word(0)));

impl Extension for Dscp {
    const NAME: &'static str = "DSCP";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &[&SET_DSCP.spec, &SET_CLASS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        let given = arguments.get(&SET_DSCP)?.or(arguments.get(&SET_CLASS)?);
        match given {
            Some(given) => Ok(Self {
                codepoint: given.value.value,
            }),
            None => Err(arguments
                .error(code::MISSING_OPTION, "no codepoint is given")
                .with_help("add --set-dscp or --set-dscp-class")),
        }
    }

    fn print(&self, line: &mut Line) {
        line.word(format!("--set-dscp {:#04x}", self.codepoint));
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(format_args!("DSCP set {:#04x}", self.codepoint));
    }
}
