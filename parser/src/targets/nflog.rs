//! `-j NFLOG`: the packet goes to a log daemon, and goes on (libxt_NFLOG, xt_NFLOG.c).

use bstr::BString;
use serde::Serialize;

use super::log::prefix;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::value::number_of;

/// The `NFLOG` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nflog {
    /// `--nflog-group`, the netlink group; 0 unless told.
    pub group: u16,
    /// `--nflog-prefix`, at most 63 bytes; empty for none.
    pub prefix: BString,
    /// `--nflog-size`: the bytes that are copied of a packet; all if none.
    pub size: Option<u32>,
    /// `--nflog-range`, which has no effect; 0 unless told.
    pub range: u32,
    /// `--nflog-threshold`: the packets that are sent at once; 0 leaves it to the kernel.
    pub threshold: u16,
}

/// What `struct xt_nflog_info` holds beside the NUL.
const PREFIX_LIMIT: usize = 63;

static GROUP: Opt<u16> = Opt::new(&["nflog-group"], |value| number_of(value.word(0)));
static PREFIX: Opt<BString> = Opt::new(&["nflog-prefix"], prefix);
static RANGE: Opt<u32> = Opt::new(&["nflog-range"], |value| number_of(value.word(0)));
static SIZE: Opt<u32> = Opt::new(&["nflog-size"], |value| number_of(value.word(0)));
static THRESHOLD: Opt<u16> = Opt::new(&["nflog-threshold"], |value| number_of(value.word(0)));

impl Extension for Nflog {
    const NAME: &'static str = "NFLOG";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &GROUP.spec,
        &PREFIX.spec,
        &RANGE.spec,
        &SIZE.spec,
        &THRESHOLD.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&RANGE.spec, &SIZE.spec])?;
        let range = arguments.get(&RANGE)?;
        if let Some(range) = &range {
            let message = "--nflog-range has no effect";
            arguments.warn(
                Diagnostic::warning(code::NO_EFFECT, range.value.span, message)
                    .with_help("--nflog-size limits what is copied"),
            );
        }
        Ok(Self {
            group: arguments.get(&GROUP)?.map_or(0, |given| given.value.value),
            prefix: arguments.text(&PREFIX, PREFIX_LIMIT)?.unwrap_or_default(),
            size: arguments.get(&SIZE)?.map(|given| given.value.value),
            range: range.map_or(0, |given| given.value.value),
            threshold: arguments
                .get(&THRESHOLD)?
                .map_or(0, |given| given.value.value),
        })
    }

    fn print(&self, line: &mut Line) {
        if !self.prefix.is_empty() {
            line.word("--nflog-prefix");
            line.string(&self.prefix);
        }
        if self.group != 0 {
            line.word(format!("--nflog-group {}", self.group));
        }
        match self.size {
            Some(size) => line.word(format!("--nflog-size {size}")),
            None if self.range != 0 => line.word(format!("--nflog-range {}", self.range)),
            None => {}
        }
        if self.threshold != 0 {
            line.word(format!("--nflog-threshold {}", self.threshold));
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.undashed(|line| self.print(line));
    }
}
