//! `-m helper`: a connection that a helper follows (libxt_helper, xt_helper.c).

use bstr::BString;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;

/// The `helper` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Helper {
    /// The helper's name, of at most 29 bytes. The connection's helper may have a longer one that
    /// starts with it; an empty name is any helper.
    pub name: Negatable<BString>,
}

/// `struct xt_helper_info` has 30 bytes with the NUL.
const LIMIT: usize = 29;

static HELPER: Opt<BString> = Opt::new(&["helper"], |value| Ok(value.word(0).into())).invertible();

impl Extension for Helper {
    const NAME: &'static str = "helper";
    const OPTIONS: &'static [&'static OptionSpec] = &[&HELPER.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let mut name = arguments.need(&HELPER)?;
        if name.value.value.len() > LIMIT {
            name.value.value.truncate(LIMIT);
            let message = format!("the name is cut to its first {LIMIT} bytes, as iptables does");
            arguments.warn(Diagnostic::warning(
                code::TRUNCATED,
                name.value.span,
                message,
            ));
        }
        Ok(Self { name })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.name.negated, "--helper");
        line.string(&self.name.value.value);
    }

    fn list(&self, line: &mut Listing<'_>) {
        let negation = if self.name.negated { "! " } else { "" };
        let name = &self.name.value.value;
        line.word(format_args!("helper match {negation}\"{name}\""));
    }
}
