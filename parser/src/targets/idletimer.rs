//! `-j IDLETIMER`: a timer that starts again with every packet and tells user space when it runs out;
//! the packet goes on (libxt_IDLETIMER, xt_IDLETIMER.c).

use bstr::BString;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch, text};
use crate::listing::Listing;
use crate::print::Line;
use crate::value::ranged;

/// The `IDLETIMER` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Idletimer {
    /// `--timeout`, seconds, 1 to 2147482.
    pub timeout: u32,
    /// `--label`: the timer's name, at most 27 bytes. Rules with one label share one timer.
    pub label: BString,
    /// `--alarm`: the timer also runs while the system sleeps.
    pub alarm: bool,
}

/// `MAX_IDLETIMER_LABEL_SIZE` less the NUL.
const LABEL_LIMIT: usize = 27;
/// The kernel counts milliseconds in an `int`.
pub(crate) const LONGEST: u64 = i32::MAX as u64 / 1000 - 1;
/// Names of sysfs, where each timer is a file.
const RESERVED: [&[u8]; 5] = [b"power", b"subsystem", b"uevent", b".", b".."];

static TIMEOUT: Opt<u32> = Opt::new(&["timeout"], |value| ranged(value.word(0), 1..=LONGEST));
static LABEL: Opt<BString> = text(&["label"]);
static ALARM: Opt<()> = switch(&["alarm"]);

impl Extension for Idletimer {
    const NAME: &'static str = "IDLETIMER";
    const OPTIONS: &'static [&'static OptionSpec] = &[&TIMEOUT.spec, &LABEL.spec, &ALARM.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let timeout = arguments.need(&TIMEOUT)?.value.value;
        let span = arguments.need(&LABEL)?.value.span;
        let label = arguments.text(&LABEL, LABEL_LIMIT)?.unwrap_or_default();
        if !can_name_a_timer(&label) {
            let message = format!("{label:?} cannot name a timer");
            return Err(Diagnostic::error(code::BAD_VALUE, span, message)
                .with_help("the kernel makes a file of that name in sysfs"));
        }
        Ok(Self {
            timeout,
            label,
            alarm: arguments.has(&ALARM),
        })
    }

    fn print(&self, line: &mut Line) {
        line.word(format!("--timeout {}", self.timeout));
        line.word("--label");
        line.raw(&self.label);
        if self.alarm {
            line.word("--alarm");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(format_args!(
            "timeout:{} label:{}",
            self.timeout, self.label
        ));
        if self.alarm {
            line.word("alarm");
        }
    }
}

/// Whether the kernel can make a file of this name in sysfs (xt_IDLETIMER.c,
/// `idletimer_check_sysfs_name`).
pub(crate) fn can_name_a_timer(label: &[u8]) -> bool {
    !label.is_empty() && !label.contains(&b'/') && !RESERVED.contains(&label)
}
