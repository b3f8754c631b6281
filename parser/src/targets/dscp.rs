//! `-j DSCP`: the upper six bits of the TOS or traffic class byte are set; the packet goes on
//! (libxt_DSCP, xt_DSCP.c).

use bstr::BStr;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::print::Line;
use crate::ruleset::TableKind;
use crate::value::ranged;

/// The `DSCP` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dscp {
    /// The code point, 0 to 63.
    pub dscp: u8,
}

/// The classes of the IANA registry with their code points, in the order of libxtables.
const CLASSES: [(&str, u8); 22] = [
    ("CS0", 0x00),
    ("CS1", 0x08),
    ("CS2", 0x10),
    ("CS3", 0x18),
    ("CS4", 0x20),
    ("CS5", 0x28),
    ("CS6", 0x30),
    ("CS7", 0x38),
    ("BE", 0x00),
    ("AF11", 0x0a),
    ("AF12", 0x0c),
    ("AF13", 0x0e),
    ("AF21", 0x12),
    ("AF22", 0x14),
    ("AF23", 0x16),
    ("AF31", 0x1a),
    ("AF32", 0x1c),
    ("AF33", 0x1e),
    ("AF41", 0x22),
    ("AF42", 0x24),
    ("AF43", 0x26),
    ("EF", 0x2e),
];

static SET_DSCP: Opt<u8> = Opt::new(&["set-dscp"], |value| ranged(value.word(0), 0..=63));
static SET_CLASS: Opt<u8> = Opt::new(&["set-dscp-class"], class);

impl Extension for Dscp {
    const NAME: &'static str = "DSCP";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &[&SET_DSCP.spec, &SET_CLASS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        let given = arguments.get(&SET_DSCP)?.or(arguments.get(&SET_CLASS)?);
        match given {
            Some(given) => Ok(Self {
                dscp: given.value.value,
            }),
            None => Err(arguments
                .error(code::MISSING_OPTION, "no code point is given")
                .with_help("add --set-dscp or --set-dscp-class")),
        }
    }

    fn print(&self, line: &mut Line) {
        line.word(format!("--set-dscp {:#04x}", self.dscp));
    }
}

/// A class by its name in any case; what stands behind the name is not looked at (dscp_helper.c).
fn class(value: &Value<'_>) -> Result<u8, Problem> {
    let word = value.word(0);
    let starts = |name: &str| {
        word.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    let row = CLASSES.iter().find(|row| starts(row.0));
    row.map(|row| row.1).ok_or_else(|| {
        Problem::new(format!("{:?} is no DSCP class", BStr::new(word)))
            .with_help("the classes are CS0 to CS7, BE, AF11 to AF43 and EF")
    })
}
