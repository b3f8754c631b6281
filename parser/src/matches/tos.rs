//! `-m tos`: the TOS byte or traffic class (libxt_tos, xt_dscp.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::tos::{TosMask, tos_mask};

/// The `tos` match: the byte under the mask is the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tos {
    /// `--tos`
    pub tos: Negatable<TosMask>,
}

static TOS: Opt<TosMask> = Opt::new(&["tos"], |value| tos_mask(value.word(0))).invertible();

impl Extension for Tos {
    const NAME: &'static str = "tos";
    const OPTIONS: &'static [&'static OptionSpec] = &[&TOS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let tos = arguments.need(&TOS)?;
        Ok(Self { tos })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.tos.negated, "--tos");
        line.word(self.tos.value.value);
    }

    fn list(&self, line: &mut Listing<'_>) {
        let tos = self.tos.value.value;
        line.word(format_args!("tos match{}", sign(self.tos.negated)));
        match tos.symbol().filter(|_| !line.style.numeric) {
            Some(name) => line.word(name),
            None => line.put(tos),
        }
    }
}
