//! `-j ECN`: bits of explicit congestion notification are set or cleared; the packet goes on
//! (libipt_ECN, ipt_ECN.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Family, TableKind};
use crate::value::ranged;

/// The `ECN` target. What is none stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ecn {
    /// `--ecn-tcp-ece`, the ECE bit of TCP.
    pub ece: Option<bool>,
    /// `--ecn-tcp-cwr`, the CWR bit of TCP.
    pub cwr: Option<bool>,
    /// `--ecn-ip-ect`, the low two bits of the TOS byte.
    pub ect: Option<u8>,
}

const PROTOCOL_TCP: u8 = 6;

static REMOVE: Opt<()> = switch(&["ecn-tcp-remove"]);
static CWR: Opt<bool> = Opt::new(&["ecn-tcp-cwr"], bit);
static ECE: Opt<bool> = Opt::new(&["ecn-tcp-ece"], bit);
static ECT: Opt<u8> = Opt::new(&["ecn-ip-ect"], |value| ranged(value.word(0), 0..=3));

impl Extension for Ecn {
    const NAME: &'static str = "ECN";
    const FAMILY: Option<Family> = Some(Family::V4);
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&REMOVE.spec, &CWR.spec, &ECE.spec, &ECT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&REMOVE.spec, &CWR.spec])?;
        arguments.at_most_one(&[&REMOVE.spec, &ECE.spec])?;
        let removed = arguments.has(&REMOVE).then_some(false);
        // The tool forgets at --ecn-tcp-remove what stands before it (libipt_ECN, `ECN_parse`).
        let is_forgotten = arguments.are_in_order(&ECT.spec, &REMOVE.spec);
        let ect = arguments.get(&ECT)?.map(|given| given.value.value);
        let ecn = Self {
            ece: arguments
                .get(&ECE)?
                .map(|given| given.value.value)
                .or(removed),
            cwr: arguments
                .get(&CWR)?
                .map(|given| given.value.value)
                .or(removed),
            ect: ect.filter(|_| !is_forgotten),
        };
        if arguments.given.is_empty() {
            return Err(arguments
                .error(code::MISSING_OPTION, "ECN is not told what to do")
                .with_help("add --ecn-tcp-remove"));
        }
        if ecn.ece.is_some() || ecn.cwr.is_some() {
            arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?;
        }
        Ok(ecn)
    }

    fn print(&self, line: &mut Line) {
        if let (Some(false), Some(false), None) = (self.ece, self.cwr, self.ect) {
            line.word("--ecn-tcp-remove");
            return;
        }
        if let Some(ece) = self.ece {
            line.word(format!("--ecn-tcp-ece {}", u8::from(ece)));
        }
        if let Some(cwr) = self.cwr {
            line.word(format!("--ecn-tcp-cwr {}", u8::from(cwr)));
        }
        if let Some(ect) = self.ect {
            line.word(format!("--ecn-ip-ect {ect}"));
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("ECN");
        if let (Some(false), Some(false), None) = (self.ece, self.cwr, self.ect) {
            return line.word("TCP remove");
        }
        if let Some(ece) = self.ece {
            line.word(format_args!("ECE={}", u8::from(ece)));
        }
        if let Some(cwr) = self.cwr {
            line.word(format_args!("CWR={}", u8::from(cwr)));
        }
        if let Some(ect) = self.ect {
            line.word(format_args!("ECT codepoint={ect}"));
        }
    }
}

fn bit(value: &Value<'_>) -> Result<bool, Problem> {
    let bit: u8 = ranged(value.word(0), 0..=1)?;
    Ok(bit == 1)
}
