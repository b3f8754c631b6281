//! `-j TOS`: bits of the TOS or traffic class byte are changed; the packet goes on (libxt_TOS,
//! xt_DSCP.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::print::Line;
use crate::ruleset::TableKind;
use crate::value::{leading_integer, ranged};

/// The `TOS` target: `tos = (tos & !mask) ^ value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tos {
    /// The bits that are flipped after the mask.
    pub value: u8,
    /// The bits that are cleared first.
    pub mask: u8,
}

/// The names of RFC 1349.
const NAMES: [(&str, u8); 5] = [
    ("Minimize-Delay", 0x10),
    ("Maximize-Throughput", 0x08),
    ("Maximize-Reliability", 0x04),
    ("Minimize-Cost", 0x02),
    ("Normal-Service", 0x00),
];
/// The mask of a name.
const NAME_MASK: u8 = 0x3f;

static SET: Opt<Tos> = Opt::new(&["set-tos"], set);
static AND: Opt<Tos> = Opt::new(&["and-tos"], |value| {
    let kept: u8 = ranged(value.word(0), 0..=0xff)?;
    Ok(Tos {
        value: 0,
        mask: !kept,
    })
});
static OR: Opt<Tos> = Opt::new(&["or-tos"], |value| {
    let set = ranged(value.word(0), 0..=0xff)?;
    Ok(Tos {
        value: set,
        mask: set,
    })
});
static XOR: Opt<Tos> = Opt::new(&["xor-tos"], |value| {
    let value = ranged(value.word(0), 0..=0xff)?;
    Ok(Tos { value, mask: 0 })
});

impl Extension for Tos {
    const NAME: &'static str = "TOS";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &[&SET.spec, &AND.spec, &OR.spec, &XOR.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        for option in [&SET, &AND, &OR, &XOR] {
            if let Some(given) = arguments.get(option)? {
                return Ok(given.value.value);
            }
        }
        Err(arguments
            .error(code::MISSING_OPTION, "no change is given")
            .with_help("add --set-tos, --and-tos, --or-tos or --xor-tos"))
    }

    fn print(&self, line: &mut Line) {
        line.word(format!("--set-tos {:#04x}/{:#04x}", self.value, self.mask));
    }
}

/// `value[/mask]`, or a name in any case.
fn set(value: &Value<'_>) -> Result<Tos, Problem> {
    let word = value.word(0);
    let row = NAMES
        .iter()
        .find(|row| row.0.as_bytes().eq_ignore_ascii_case(word));
    if let Some(row) = row {
        return Ok(Tos {
            value: row.1,
            mask: NAME_MASK,
        });
    }
    if leading_integer(word, 0xff).is_none() {
        let names: Vec<&str> = NAMES.iter().map(|row| row.0).collect();
        return Err(Problem::new(format!("{:?} is no TOS", BStr::new(word)))
            .with_help(format!("write 0 to 255 or one of {}", names.join(", "))));
    }
    let (value, mask) = match word.split_once_str("/") {
        Some((value, mask)) => (value, ranged(mask, 0..=0xff)?),
        None => (word, u8::MAX),
    };
    Ok(Tos {
        value: ranged(value, 0..=0xff)?,
        mask,
    })
}
