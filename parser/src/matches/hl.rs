//! `-m hl`: the hop limit of an IPv6 packet (libip6t_hl, xt_hl.c).

use serde::Serialize;

use super::Comparison;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Family;
use crate::value::number_of;

/// The `hl` match: byte 7 of the IPv6 header, compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hl(pub Comparison<u8>);

static EQUAL: Opt<u8> = Opt::new(&["hl-eq", "hl"], |value| number_of(value.word(0))).invertible();
static LESS: Opt<u8> = Opt::new(&["hl-lt"], |value| number_of(value.word(0)));
static GREATER: Opt<u8> = Opt::new(&["hl-gt"], |value| number_of(value.word(0)));

impl Extension for Hl {
    const NAME: &'static str = "hl";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[&EQUAL.spec, &LESS.spec, &GREATER.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        if let Some(given) = arguments.get(&EQUAL)? {
            let limit = given.value.value;
            return Ok(Self(match given.negated {
                false => Comparison::Equal(limit),
                true => Comparison::Unequal(limit),
            }));
        }
        if let Some(given) = arguments.get(&LESS)? {
            return Ok(Self(Comparison::Less(given.value.value)));
        }
        if let Some(given) = arguments.get(&GREATER)? {
            return Ok(Self(Comparison::Greater(given.value.value)));
        }
        Err(Diagnostic::error(
            code::MISSING_OPTION,
            arguments.span,
            "no hop limit is given",
        )
        .with_help("add --hl-eq, --hl-lt or --hl-gt"))
    }

    fn print(&self, line: &mut Line) {
        let (negated, option, limit) = match self.0 {
            Comparison::Equal(limit) => (false, "--hl-eq", limit),
            Comparison::Unequal(limit) => (true, "--hl-eq", limit),
            Comparison::Less(limit) => (false, "--hl-lt", limit),
            Comparison::Greater(limit) => (false, "--hl-gt", limit),
        };
        line.option(negated, option);
        line.word(limit);
    }

    fn list(&self, line: &mut Listing<'_>) {
        let (relation, limit) = self.0.in_symbols();
        line.word(format_args!("HL match HL {relation} {limit}"));
    }
}
