//! `-j ULOG`: the packet goes to a log daemon, and goes on (libipt_ULOG, ipt_ULOG.c of kernels before
//! 3.17).

use bstr::BString;
use serde::Serialize;

use super::log::prefix;
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Family;
use crate::value::ranged;

/// The `ULOG` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ulog {
    /// `--ulog-nlgroup`, the netlink group, 1 to 32; 1 unless told.
    pub group: u8,
    /// `--ulog-prefix`, at most 31 bytes; empty for none.
    pub prefix: BString,
    /// `--ulog-cprange`: the bytes that are copied of a packet; 0 for all.
    pub copy_range: u64,
    /// `--ulog-qthreshold`: the packets that are sent at once, 1 to 50; 1 unless told.
    pub threshold: u64,
}

/// `ULOG_PREFIX_LEN` less the NUL.
const PREFIX_LIMIT: usize = 31;
/// `ULOG_MAX_QLEN`
pub(crate) const THRESHOLD_LIMIT: u64 = 50;
/// `ULOG_DEFAULT_NLGROUP`
const DEFAULT_GROUP: u8 = 1;
/// `ULOG_DEFAULT_QTHRESHOLD`
const DEFAULT_THRESHOLD: u64 = 1;

static GROUP: Opt<u8> = Opt::new(&["ulog-nlgroup"], |value| ranged(value.word(0), 1..=32));
static PREFIX: Opt<BString> = Opt::new(&["ulog-prefix"], prefix);
static COPY_RANGE: Opt<u64> = Opt::new(&["ulog-cprange"], |value| {
    ranged(value.word(0), 0..=u64::MAX)
});
static THRESHOLD: Opt<u64> = Opt::new(&["ulog-qthreshold"], |value| {
    ranged(value.word(0), 1..=THRESHOLD_LIMIT)
});

impl Extension for Ulog {
    const NAME: &'static str = "ULOG";
    const FAMILY: Option<Family> = Some(Family::V4);
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&GROUP.spec, &PREFIX.spec, &COPY_RANGE.spec, &THRESHOLD.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            group: arguments
                .get(&GROUP)?
                .map_or(DEFAULT_GROUP, |given| given.value.value),
            prefix: arguments.text(&PREFIX, PREFIX_LIMIT)?.unwrap_or_default(),
            copy_range: arguments
                .get(&COPY_RANGE)?
                .map_or(0, |given| given.value.value),
            threshold: arguments
                .get(&THRESHOLD)?
                .map_or(DEFAULT_THRESHOLD, |given| given.value.value),
        })
    }

    fn print(&self, line: &mut Line) {
        if !self.prefix.is_empty() {
            line.word("--ulog-prefix");
            line.string(&self.prefix);
        }
        if self.group != DEFAULT_GROUP {
            line.word(format!("--ulog-nlgroup {}", self.group));
        }
        if self.copy_range != 0 {
            // The tool prints the low 32 bits.
            line.word(format!("--ulog-cprange {}", self.copy_range as u32));
        }
        if self.threshold != DEFAULT_THRESHOLD {
            line.word(format!("--ulog-qthreshold {}", self.threshold));
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let (range, group) = (self.copy_range as u32, self.group);
        line.word(format_args!("ULOG copy_range {range} nlgroup {group}"));
        if !self.prefix.is_empty() {
            line.put(format_args!(" prefix \"{}\"", self.prefix));
        }
        line.word(format_args!("queue_threshold {}", self.threshold));
    }
}
