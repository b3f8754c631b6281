//! `-m connlabel`: a label of the packet's connection (libxt_connlabel, xt_connlabel.c).

use bstr::BStr;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::integer;

/// The `connlabel` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connlabel {
    /// `--label`: a bit, 0 to 127.
    pub label: Negatable<u8>,
    /// `--set`: the packet sets the label, and matches if that is done.
    pub set: bool,
}

/// `XT_CONNLABEL_MAXBIT`
const LAST: u64 = 127;

static LABEL: Opt<u8> = Opt::new(&["label"], label).invertible();
static SET: Opt<()> = switch(&["set"]);

impl Extension for Connlabel {
    const NAME: &'static str = "connlabel";
    const OPTIONS: &'static [&'static OptionSpec] = &[&LABEL.spec, &SET.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            label: arguments.need(&LABEL)?,
            set: arguments.has(&SET),
        })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.label.negated, "--label");
        line.word(format!("\"{}\"", self.label.value.value));
        if self.set {
            line.word("--set");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("connlabel");
        if self.label.negated {
            line.word("!");
        }
        // A system that names its labels (connlabel.conf) would see the name here.
        line.word(self.label.value.value);
        if self.set {
            line.word("set");
        }
    }
}

fn label(value: &Value<'_>) -> Result<u8, Problem> {
    let word = value.word(0);
    integer(word, LAST)
        .and_then(|label| u8::try_from(label).ok())
        .ok_or_else(|| {
            Problem::new(format!("{:?} is no label", BStr::new(word))).with_help(format!(
                "write a number from 0 to {LAST}; names of connlabel.conf are not looked up"
            ))
        })
}
