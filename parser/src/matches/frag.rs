//! `-m frag`: the fragment header of IPv6 (libip6t_frag, ip6t_frag.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, switch};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::range::{self, Range};
use crate::ruleset::{Family, Negatable};
use crate::value::{self, word32};

/// The `frag` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frag {
    /// `--fragid`: the identification.
    pub id: Negatable<Range<u32>>,
    /// `--fraglen`, which the kernel keeps and does not test.
    pub length: Option<Negatable<u32>>,
    /// `--fragres`: the reserved fields are zero.
    pub reserved: bool,
    /// `--fragfirst`: the offset is zero.
    pub first: bool,
    /// `--fragmore` or `--fraglast`
    pub place: Option<Place>,
}

/// Whether a fragment ends its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// `--fragmore`: more fragments follow.
    More,
    /// `--fraglast`: it is the last.
    Last,
}

static ID: Opt<Range<u32>> =
    Opt::new(&["fragid"], |value| value::range(value.word(0))).invertible();
static LENGTH: Opt<u32> = Opt::new(&["fraglen"], |value| {
    word32(value.word(0)).ok_or_else(|| Problem::new("a length is a number of at most 32 bits"))
})
.invertible();
static RESERVED: Opt<()> = switch(&["fragres"]);
static FIRST: Opt<()> = switch(&["fragfirst"]);
static MORE: Opt<()> = switch(&["fragmore"]);
static LAST: Opt<()> = switch(&["fraglast"]);

impl Extension for Frag {
    const NAME: &'static str = "frag";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &ID.spec,
        &LENGTH.spec,
        &RESERVED.spec,
        &FIRST.spec,
        &MORE.spec,
        &LAST.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&MORE.spec, &LAST.spec])?;
        let more = arguments.has(&MORE).then_some(Place::More);
        let last = arguments.has(&LAST).then_some(Place::Last);
        Ok(Self {
            id: range::read(arguments, &ID, Range::EVERYTHING)?,
            length: arguments.get(&LENGTH)?,
            reserved: arguments.has(&RESERVED),
            first: arguments.has(&FIRST),
            place: more.or(last),
        })
    }

    fn print(&self, line: &mut Line) {
        range::print(line, "--fragid", &self.id);
        if let Some(length) = &self.length {
            line.option(length.negated, "--fraglen");
            line.word(length.value.value);
        }
        for (is_set, option) in [
            (self.reserved, "--fragres"),
            (self.first, "--fragfirst"),
            (self.place == Some(Place::More), "--fragmore"),
            (self.place == Some(Place::Last), "--fraglast"),
        ] {
            if is_set {
                line.word(option);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let ids = Listing::range_text("id", &self.id).unwrap_or_default();
        line.word(format_args!("frag {ids}"));
        if let Some(length) = &self.length {
            let sign = sign(length.negated);
            line.word(format_args!("length:{sign}{}", length.value.value));
        }
        for (is_set, name) in [
            (self.reserved, "reserved"),
            (self.first, "first"),
            (self.place == Some(Place::More), "more"),
            (self.place == Some(Place::Last), "last"),
        ] {
            if is_set {
                line.word(name);
            }
        }
    }
}
