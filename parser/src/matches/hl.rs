//! `-m hl`: the hop limit (libip6t_hl, xt_hl.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::print::Line;
use crate::ruleset::{Family, Negatable};
use crate::value::number_of;

/// The `hl` match: how the hop limit of the IPv6 header compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hl {
    /// `--hl-eq`
    Equal(Negatable<u8>),
    /// `--hl-lt`
    LessThan(u8),
    /// `--hl-gt`
    GreaterThan(u8),
}

static EQUAL: Opt<u8> = Opt::new(&["hl-eq", "hl"], |value| number_of(value.word(0))).invertible();
static LESS_THAN: Opt<u8> = Opt::new(&["hl-lt"], |value| number_of(value.word(0)));
static GREATER_THAN: Opt<u8> = Opt::new(&["hl-gt"], |value| number_of(value.word(0)));

impl Extension for Hl {
    const NAME: &'static str = "hl";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&EQUAL.spec, &LESS_THAN.spec, &GREATER_THAN.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        if let Some(limit) = arguments.get(&EQUAL)? {
            return Ok(Self::Equal(limit));
        }
        if let Some(limit) = arguments.get(&LESS_THAN)? {
            return Ok(Self::LessThan(limit.value.value));
        }
        if let Some(limit) = arguments.get(&GREATER_THAN)? {
            return Ok(Self::GreaterThan(limit.value.value));
        }
        Err(Diagnostic::error(
            code::MISSING_OPTION,
            arguments.span,
            "no hop limit is given",
        )
        .with_help("add --hl-eq, --hl-lt or --hl-gt"))
    }

    fn print(&self, line: &mut Line) {
        match self {
            Self::Equal(limit) => {
                line.option(limit.negated, "--hl-eq");
                line.word(limit.value.value);
            }
            Self::LessThan(limit) => {
                line.word("--hl-lt");
                line.word(limit);
            }
            Self::GreaterThan(limit) => {
                line.word("--hl-gt");
                line.word(limit);
            }
        }
    }
}
