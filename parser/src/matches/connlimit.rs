//! `-m connlimit`: how many connections a host or network has (libxt_connlimit, xt_connlimit.c).

use serde::Serialize;

use super::Bound;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Family;
use crate::value::{prefix_length, word32};

/// The `connlimit` match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Connlimit {
    /// Whether the limit itself matches or what is above it.
    pub bound: Bound,
    /// A number of connections.
    pub limit: u32,
    /// `--connlimit-mask`: the addresses that have these leading bits in common count as one; at
    /// most 32 for IPv4 and 128 for IPv6, which are the defaults.
    pub prefix_length: u8,
    /// Whose connections are counted.
    pub by: By,
}

/// The address by which connections are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// `--connlimit-saddr`, the default
    Source,
    /// `--connlimit-daddr`
    Destination,
}

static UPTO: Opt<u32> = Opt::new(&["connlimit-upto"], limit).invertible();
static ABOVE: Opt<u32> = Opt::new(&["connlimit-above"], limit).invertible();
static MASK: Opt<u8> = Opt::new(&["connlimit-mask"], |value| {
    prefix_length(value.word(0), value.rule.family)
});
static SOURCE: Opt<()> = switch(&["connlimit-saddr"]);
static DESTINATION: Opt<()> = switch(&["connlimit-daddr"]);

impl Extension for Connlimit {
    const NAME: &'static str = "connlimit";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &UPTO.spec,
        &ABOVE.spec,
        &MASK.spec,
        &SOURCE.spec,
        &DESTINATION.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&UPTO.spec, &ABOVE.spec])?;
        arguments.at_most_one(&[&SOURCE.spec, &DESTINATION.spec])?;
        let up_to = arguments.get(&UPTO)?.map(|given| (Bound::UpTo, given));
        let above = arguments.get(&ABOVE)?.map(|given| (Bound::Above, given));
        let (bound, limit) = up_to.or(above).ok_or_else(|| {
            Diagnostic::error(code::MISSING_OPTION, arguments.span, "no limit is given")
                .usage("You must specify \"--connlimit-above\" or \"--connlimit-upto\".")
                .with_help("add --connlimit-above or --connlimit-upto")
        })?;
        let longest = match arguments.rule.family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        Ok(Self {
            bound: bound.negated_if(limit.negated),
            limit: limit.value.value,
            prefix_length: arguments
                .get(&MASK)?
                .map_or(longest, |given| given.value.value),
            by: if arguments.has(&DESTINATION) {
                By::Destination
            } else {
                By::Source
            },
        })
    }

    fn print(&self, line: &mut Line) {
        line.word(match self.bound {
            Bound::UpTo => "--connlimit-upto",
            Bound::Above => "--connlimit-above",
        });
        line.word(self.limit);
        line.word("--connlimit-mask");
        line.word(self.prefix_length);
        line.word(match self.by {
            By::Source => "--connlimit-saddr",
            By::Destination => "--connlimit-daddr",
        });
    }

    fn list(&self, line: &mut Listing<'_>) {
        let by = match self.by {
            By::Source => "src",
            By::Destination => "dst",
        };
        let relation = match self.bound {
            Bound::UpTo => "<=",
            Bound::Above => ">",
        };
        let (length, limit) = (self.prefix_length, self.limit);
        line.word(format_args!("#conn {by}/{length} {relation} {limit}"));
    }
}

fn limit(value: &Value<'_>) -> Result<u32, Problem> {
    word32(value.word(0)).ok_or_else(|| Problem::new("a limit is a number from 0 to 4294967295"))
}
