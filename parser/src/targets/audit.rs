//! `-j AUDIT`: a record for the audit daemon; the packet goes on (libxt_AUDIT, xt_AUDIT.c).

use bstr::BStr;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;

/// The `AUDIT` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// `--type`
    pub kind: Kind,
}

/// What the record says of the packet's fate; it decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `accept`
    Accept,
    /// `drop`
    Drop,
    /// `reject`
    Reject,
}

const NAMES: [(Kind, &str); 3] = [
    (Kind::Accept, "accept"),
    (Kind::Drop, "drop"),
    (Kind::Reject, "reject"),
];

static TYPE: Opt<Kind> = Opt::new(&["type"], kind);

impl Extension for Audit {
    const NAME: &'static str = "AUDIT";
    const OPTIONS: &'static [&'static OptionSpec] = &[&TYPE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let kind = arguments.need(&TYPE)?.value.value;
        Ok(Self { kind })
    }

    fn print(&self, line: &mut Line) {
        line.word("--type");
        let row = NAMES.iter().find(|row| row.0 == self.kind);
        line.word(row.map(|row| row.1).unwrap_or_default());
    }

    fn list(&self, line: &mut Listing<'_>) {
        let row = NAMES.iter().find(|row| row.0 == self.kind);
        line.word(format_args!(
            "AUDIT {}",
            row.map(|row| row.1).unwrap_or_default()
        ));
    }
}

fn kind(value: &Value<'_>) -> Result<Kind, Problem> {
    let word = value.word(0);
    NAMES
        .iter()
        .find(|row| row.1.as_bytes().eq_ignore_ascii_case(word))
        .map(|row| row.0)
        .ok_or_else(|| {
            Problem::new(format!("{:?} is no type of audit record", BStr::new(word)))
                .with_help("write accept, drop or reject")
        })
}
