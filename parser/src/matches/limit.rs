//! `-m limit`: a token bucket (libxt_limit, xt_limit.c).

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::Listing;
use crate::print::Line;
use crate::rate;
use crate::value::integer;
use bstr::{BStr, ByteSlice};
use serde::Serialize;

/// The `limit` match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Ten-thousandths of a second per token (`XT_LIMIT_SCALE` 10000), as the kernel gets it.
    pub average: u32,
    /// Tokens that may be saved up.
    pub burst: u32,
}

/// `XT_LIMIT_SCALE`
const SCALE: u32 = 10_000;
/// Three an hour.
const DEFAULT_AVERAGE: u32 = SCALE * 60 * 60 / 3;
/// `XT_LIMIT_BURST`
const DEFAULT_BURST: u32 = 5;
/// `HZ * CREDITS_PER_JIFFY` of xt_limit.c, which is this for an HZ of 250 and of 1000.
const CREDITS_PER_SECOND: u32 = 32_000;

static LIMIT: Opt<u32> = Opt::new(&["limit"], |value| average(value.word(0)));
static BURST: Opt<u32> = Opt::new(&["limit-burst"], |value| {
    integer(value.word(0), 10_000)
        .and_then(|burst| u32::try_from(burst).ok())
        .ok_or_else(|| {
            Problem::new("a burst is a number from 1 to 10000").usage(
                "limit: bad value for option \"--limit-burst\", or out of range (0-10000).\n",
            )
        })
});

impl Extension for Limit {
    const NAME: &'static str = "limit";
    const OPTIONS: &'static [&'static OptionSpec] = &[&LIMIT.spec, &BURST.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let average = arguments
            .get(&LIMIT)?
            .map_or(DEFAULT_AVERAGE, |given| given.value.value);
        let burst = arguments
            .get(&BURST)?
            .map_or(DEFAULT_BURST, |given| given.value.value);
        let limit = Self { average, burst };
        if limit.is_refused() {
            return Err(Diagnostic::error(
                code::BAD_VALUE,
                arguments.span,
                format!("the kernel refuses a burst of {burst} at this rate"),
            )
            .with_help("use a burst of at least 1, and a smaller one for slow rates"));
        }
        Ok(limit)
    }

    fn print(&self, line: &mut Line) {
        line.word("--limit");
        let (number, unit) = rate::saved(self.average.into(), SCALE.into());
        line.word(format!("{number}/{}", unit.saved_as));
        if self.burst != DEFAULT_BURST {
            line.word("--limit-burst");
            line.word(self.burst);
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let (number, unit) = rate::saved(self.average.into(), SCALE.into());
        let unit = unit.saved_as;
        line.word(format_args!(
            "limit: avg {number}/{unit} burst {}",
            self.burst
        ));
    }
}

impl Limit {
    /// Whether the kernel refuses it (xt_limit.c, `limit_mt_check`).
    pub(crate) fn is_refused(&self) -> bool {
        let overflows = credits(self.average.wrapping_mul(self.burst)) < credits(self.average);
        self.burst == 0 || overflows
    }
}

/// `number[/unit]`, the unit by any leading part (libxt_limit, `parse_rate`).
fn average(word: &[u8]) -> Result<u32, Problem> {
    let bad = || {
        Problem::new(format!("{:?} is no rate", BStr::new(word)))
            .usage(format!("bad rate \"{}\"'", BStr::new(word)))
            .with_help("write a rate such as 5/second, 3/minute, 10/hour or 1/day")
    };
    let (number, unit) = match word.split_once_str("/") {
        None => (word, rate::SECOND),
        Some((number, unit)) => (number, rate::unit(unit).ok_or_else(bad)?),
    };
    let period = SCALE * unit.seconds;
    let number: u64 = number
        .trim_start()
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(bad)?;
    match u32::try_from(number) {
        Ok(0) => Err(bad()),
        Ok(number) if number <= period => Ok(period / number),
        _ => Err(
            Problem::new(format!("the rate {:?} is too fast", BStr::new(word)))
                .with_help("10000/second is the fastest"),
        ),
    }
}

/// The kernel's own arithmetic, which wraps (xt_limit.c, `user2credits`).
fn credits(user: u32) -> u32 {
    if user > u32::MAX / CREDITS_PER_SECOND {
        (user / SCALE).wrapping_mul(CREDITS_PER_SECOND)
    } else {
        user * CREDITS_PER_SECOND / SCALE
    }
}
