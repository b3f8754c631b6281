//! `-m nfacct`: counts into a named counter (libxt_nfacct, xt_nfacct.c).

use bstr::BString;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;

/// The `nfacct` match: true when the counter has passed its quota, if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nfacct {
    /// `--nfacct-name`, 1 to 31 bytes. The kernel must know the counter when the rule is loaded.
    pub name: BString,
}

/// `NFACCT_NAME_MAX` less the NUL.
const LIMIT: usize = 31;

static NAME: Opt<BString> = Opt::new(&["nfacct-name"], name);

impl Extension for Nfacct {
    const NAME: &'static str = "nfacct";
    const OPTIONS: &'static [&'static OptionSpec] = &[&NAME.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let given = arguments.need(&NAME)?;
        let name = arguments.cut(given.value, LIMIT).value;
        Ok(Self { name })
    }

    /// The tool prints two blanks before the name.
    fn print(&self, line: &mut Line) {
        line.word("--nfacct-name ");
        line.string(&self.name);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.undashed(|line| self.print(line));
    }
}

fn name(value: &Value<'_>) -> Result<BString, Problem> {
    match value.word(0) {
        [] => Err(Problem::new("the name of the counter is empty")),
        name => Ok(name.into()),
    }
}
