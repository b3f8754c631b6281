//! `-j TCPOPTSTRIP`: TCP options are overwritten with padding; the packet goes on (libxt_TCPOPTSTRIP,
//! xt_TCPOPTSTRIP.c).

use std::collections::BTreeSet;

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::TableKind;
use crate::value::byte;

/// The `TCPOPTSTRIP` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tcpoptstrip {
    /// `--strip-options`: kinds of TCP options, 2 to 255; none strips nothing.
    pub options: BTreeSet<u8>,
}

const PROTOCOL_TCP: u8 = 6;
/// The names of libxtables.
const NAMES: [(&str, u8); 6] = [
    ("wscale", 3),
    ("mss", 2),
    ("sack-permitted", 4),
    ("sack", 5),
    ("timestamp", 8),
    ("md5", 19),
];

static OPTIONS: Opt<BTreeSet<u8>> = Opt::new(&["strip-options"], options);

impl Extension for Tcpoptstrip {
    const NAME: &'static str = "TCPOPTSTRIP";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &[&OPTIONS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let options = arguments.get(&OPTIONS)?;
        arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?;
        Ok(Self {
            options: options.map(|given| given.value.value).unwrap_or_default(),
        })
    }

    fn print(&self, line: &mut Line) {
        if !self.options.is_empty() {
            let numbers: Vec<String> = self.options.iter().map(u8::to_string).collect();
            line.word("--strip-options");
            line.word(numbers.join(","));
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        if self.options.is_empty() {
            return;
        }
        let name = |option: &u8| {
            let row = NAMES.iter().find(|row| row.1 == *option);
            match row.filter(|_| !line.style.numeric) {
                Some(row) => row.0.to_owned(),
                None => option.to_string(),
            }
        };
        let names: Vec<String> = self.options.iter().map(name).collect();
        line.word(format_args!("TCPOPTSTRIP options {}", names.join(",")));
    }
}

/// Names and numbers between commas.
fn options(value: &Value<'_>) -> Result<BTreeSet<u8>, Problem> {
    let mut options = BTreeSet::new();
    for word in value.word(0).split_str(",") {
        let row = NAMES.iter().find(|row| row.0.as_bytes() == word);
        let shown = BStr::new(word);
        match row.map(|row| row.1).or_else(|| byte(word)) {
            Some(0 | 1) => {
                return Err(Problem::new("the TCP options 0 and 1 are padding")
                    .with_help("write numbers from 2 to 255"));
            }
            Some(option) if !options.insert(option) => {
                return Err(Problem::new(format!(
                    "the TCP option {shown} is given twice"
                )));
            }
            Some(_) => {}
            None => {
                let names: Vec<&str> = NAMES.iter().map(|row| row.0).collect();
                return Err(Problem::new(format!("{shown:?} is no TCP option"))
                    .with_help(format!("write 2 to 255 or {}", names.join(", "))));
            }
        }
    }
    Ok(options)
}
