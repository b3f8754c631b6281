//! `-m hbh`: the hop-by-hop options header of IPv6 (libip6t_hbh, ip6t_hbh.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::header_options::{HeaderOption, HeaderTest, options};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Family;
use crate::value::word32;

/// The `hbh` match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hbh(pub HeaderTest);

static LENGTH: Opt<u32> = Opt::new(&["hbh-len"], |value| {
    word32(value.word(0)).ok_or_else(|| Problem::new("a length is a number of at most 32 bits"))
})
.invertible();
static OPTIONS: Opt<Vec<HeaderOption>> = Opt::new(&["hbh-opts"], |value| options(value.word(0)));

impl Extension for Hbh {
    const NAME: &'static str = "hbh";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[&LENGTH.spec, &OPTIONS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self(HeaderTest {
            length: arguments.get(&LENGTH)?,
            options: arguments.get(&OPTIONS)?.map(|given| given.value.value),
        }))
    }

    fn print(&self, line: &mut Line) {
        self.0.print(line, "--hbh-len", "--hbh-opts");
    }

    fn list(&self, line: &mut Listing<'_>) {
        self.0.list(line, "hbh");
    }
}
