//! `-m ttl`: the time to live of an IPv4 packet (libipt_ttl, xt_hl.c).

use serde::Serialize;

use super::Comparison;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Family;
use crate::value::byte;

/// The `ttl` match: byte 8 of the IPv4 header, compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ttl(pub Comparison<u8>);

static EQUAL: Opt<u8> = Opt::new(&["ttl-eq", "ttl"], ttl).invertible();
static LESS: Opt<u8> = Opt::new(&["ttl-lt"], ttl);
static GREATER: Opt<u8> = Opt::new(&["ttl-gt"], ttl);

impl Extension for Ttl {
    const NAME: &'static str = "ttl";
    const FAMILY: Option<Family> = Some(Family::V4);
    const OPTIONS: &'static [&'static OptionSpec] = &[&LESS.spec, &GREATER.spec, &EQUAL.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        if let Some(given) = arguments.get(&EQUAL)? {
            let ttl = given.value.value;
            return Ok(Self(match given.negated {
                false => Comparison::Equal(ttl),
                true => Comparison::Unequal(ttl),
            }));
        }
        if let Some(given) = arguments.get(&LESS)? {
            return Ok(Self(Comparison::Less(given.value.value)));
        }
        if let Some(given) = arguments.get(&GREATER)? {
            return Ok(Self(Comparison::Greater(given.value.value)));
        }
        Err(
            Diagnostic::error(code::MISSING_OPTION, arguments.span, "no TTL is given")
                .with_help("add --ttl-eq, --ttl-lt or --ttl-gt"),
        )
    }

    fn print(&self, line: &mut Line) {
        let (negated, option, ttl) = match self.0 {
            Comparison::Equal(ttl) => (false, "--ttl-eq", ttl),
            Comparison::Unequal(ttl) => (true, "--ttl-eq", ttl),
            Comparison::Less(ttl) => (false, "--ttl-lt", ttl),
            Comparison::Greater(ttl) => (false, "--ttl-gt", ttl),
        };
        line.option(negated, option);
        line.word(ttl);
    }

    fn list(&self, line: &mut Listing<'_>) {
        let (relation, limit) = self.0.in_symbols();
        line.word(format_args!("TTL match TTL {relation} {limit}"));
    }
}

fn ttl(value: &Value<'_>) -> Result<u8, Problem> {
    byte(value.word(0)).ok_or_else(|| {
        Problem::new("a TTL is a number from 0 to 255")
            .usage("ttl: bad value for option \"--ttl-eq\", or out of range (0-255).\n")
    })
}
