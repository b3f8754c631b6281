//! `-j TOS`: bits of the TOS or traffic class byte are changed; the packet goes on (libxt_TOS,
//! xt_DSCP.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::TableKind;
use crate::tos::{TosMask, tos_mask};
use crate::value::number_of;

/// The `TOS` target: `tos = (tos & !mask) ^ value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tos {
    /// The bits that are cleared, and those that are flipped then.
    #[serde(flatten)]
    pub change: TosMask,
}

static SET: Opt<TosMask> = Opt::new(&["set-tos"], |value| tos_mask(value.word(0)));
static AND: Opt<TosMask> = Opt::new(&["and-tos"], |value| {
    let kept: u8 = number_of(value.word(0))?;
    Ok(TosMask {
        value: 0,
        mask: !kept,
    })
});
static OR: Opt<TosMask> = Opt::new(&["or-tos"], |value| {
    let set = number_of(value.word(0))?;
    Ok(TosMask {
        value: set,
        mask: set,
    })
});
static XOR: Opt<TosMask> = Opt::new(&["xor-tos"], |value| {
    let value = number_of(value.word(0))?;
    Ok(TosMask { value, mask: 0 })
});

impl Extension for Tos {
    const NAME: &'static str = "TOS";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &[&SET.spec, &AND.spec, &OR.spec, &XOR.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        for option in [&SET, &AND, &OR, &XOR] {
            if let Some(given) = arguments.get(option)? {
                return Ok(Self {
                    change: given.value.value,
                });
            }
        }
        Err(arguments
            .error(code::MISSING_OPTION, "no change is given")
            .with_help("add --set-tos, --and-tos, --or-tos or --xor-tos"))
    }

    fn print(&self, line: &mut Line) {
        line.word("--set-tos");
        line.word(self.change);
    }

    fn list(&self, line: &mut Listing<'_>) {
        let TosMask { value, mask } = self.change;
        match self.change.symbol() {
            _ if line.style.numeric => line.word(format_args!("TOS set {}", self.change)),
            Some(name) => line.word(format_args!(" TOS set{name}")),
            None if value == 0 => line.word(format_args!("TOS and {:#04x}", !mask)),
            None if value == mask => line.word(format_args!("TOS or {value:#04x}")),
            None if mask == 0 => line.word(format_args!("TOS xor {value:#04x}")),
            None => line.word(format_args!("TOS set {}", self.change)),
        }
    }
}
