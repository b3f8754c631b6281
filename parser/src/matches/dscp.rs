//! `-m dscp`: the differentiated services codepoint (RFC 2474; libxt_dscp, xt_dscp.c).

use bstr::BStr;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::integer;

/// The `dscp` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dscp {
    /// The upper six bits of the type of service or traffic class, 0 to 63.
    pub codepoint: Negatable<u8>,
}

/// The classes of dscp_helper.c, in its order.
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

static CODEPOINT: Opt<u8> = Opt::new(&["dscp"], |value| codepoint(value.word(0))).invertible();
static CLASS: Opt<u8> = Opt::new(&["dscp-class"], |value| class(value.word(0))).invertible();

impl Extension for Dscp {
    const NAME: &'static str = "dscp";
    const OPTIONS: &'static [&'static OptionSpec] = &[&CODEPOINT.spec, &CLASS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        let codepoint = arguments.get(&CODEPOINT)?.or(arguments.get(&CLASS)?);
        let codepoint = codepoint.ok_or_else(|| {
            let message = "no codepoint is given";
            Diagnostic::error(code::MISSING_OPTION, arguments.span, message)
                .with_help("add --dscp or --dscp-class")
        })?;
        Ok(Self { codepoint })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.codepoint.negated, "--dscp");
        line.word(format!("{:#04x}", self.codepoint.value.value));
    }

    fn list(&self, line: &mut Listing<'_>) {
        let sign = sign(self.codepoint.negated);
        line.word(format_args!(
            "DSCP match {sign}{:#04x}",
            self.codepoint.value.value
        ));
    }
}

/// The number of a codepoint.
pub(crate) fn codepoint(word: &[u8]) -> Result<u8, Problem> {
    integer(word, 0x3f)
        .and_then(|codepoint| u8::try_from(codepoint).ok())
        .ok_or_else(|| {
            Problem::new(format!("{:?} is no codepoint", BStr::new(word))).with_help(
                "write a number from 0 to 63; a class such as EF has an option of its own",
            )
        })
}

/// The codepoint of a class that the word is or starts with, in any case.
pub(crate) fn class(word: &[u8]) -> Result<u8, Problem> {
    let found = CLASSES.iter().find(|row| {
        word.get(..row.0.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(row.0.as_bytes()))
    });
    found.map(|row| row.1).ok_or_else(|| {
        Problem::new(format!("{:?} is no class", BStr::new(word)))
            .with_help("the classes are BE, EF, CS0 to CS7 and AF11 to AF43")
    })
}
