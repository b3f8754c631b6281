//! `-j RATEEST`: the packets are counted into a rate, which `-m rateest` compares; the packet goes on
//! (libxt_RATEEST, xt_RATEEST.c, gen_estimator.c).

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, text};
use crate::listing::Listing;
use crate::print::Line;

/// The `RATEEST` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rateest {
    /// `--rateest-name`, at most 15 bytes. Rules with one name share one rate, and must agree on the
    /// rest.
    pub name: BString,
    /// `--rateest-interval`: measured every `2^interval` seconds, from -2 to 3.
    pub interval: i8,
    /// `--rateest-ewmalog`: a new measure counts for `2^-ewma_log`, from 1 to 29.
    pub ewma_log: u8,
}

/// `IFNAMSIZ` less the NUL.
const NAME_LIMIT: usize = 15;
/// Microseconds in a second.
const SECOND: f64 = 1e6;
/// The shortest interval, in microseconds.
const QUARTER: u32 = 250_000;
/// The units of a time by their names, with their length in microseconds.
const UNITS: [(&str, f64); 9] = [
    ("s", SECOND),
    ("sec", SECOND),
    ("secs", SECOND),
    ("ms", 1e3),
    ("msec", 1e3),
    ("msecs", 1e3),
    ("us", 1.0),
    ("usec", 1.0),
    ("usecs", 1.0),
];

static NAME: Opt<BString> = text(&["rateest-name"]);
static INTERVAL: Opt<u32> = Opt::new(&["rateest-interval"], time);
static EWMALOG: Opt<u32> = Opt::new(&["rateest-ewmalog"], time);

impl Extension for Rateest {
    const NAME: &'static str = "RATEEST";
    const OPTIONS: &'static [&'static OptionSpec] = &[&NAME.spec, &INTERVAL.spec, &EWMALOG.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&NAME)?;
        let time = arguments.need(&INTERVAL)?.value;
        let average = arguments.need(&EWMALOG)?.value;
        let interval = (-2..=3).find(|&interval| time.value <= length(interval));
        let Some(interval) = interval else {
            return Err(
                Diagnostic::error(code::BAD_VALUE, time.span, "the interval is too long")
                    .with_help("8s is the longest"),
            );
        };
        let Some(ewma_log) = ewma_log(time.value, average.value) else {
            let message = "the averaging time does not fit the interval";
            return Err(Diagnostic::error(code::BAD_VALUE, average.span, message)
                .with_help("write at least twice the interval"));
        };
        Ok(Self {
            name: arguments.text(&NAME, NAME_LIMIT)?.unwrap_or_default(),
            interval,
            ewma_log,
        })
    }

    fn print(&self, line: &mut Line) {
        let interval = length(self.interval);
        // In 32 bits, as the tool does.
        let average = interval.wrapping_mul(1 << self.ewma_log);
        line.word("--rateest-name");
        line.raw(&self.name);
        line.word("--rateest-interval");
        line.word(print_time(interval));
        line.word("--rateest-ewmalog");
        line.word(print_time(average));
    }

    fn list(&self, line: &mut Listing<'_>) {
        let interval = length(self.interval);
        let average = interval.wrapping_mul(1 << self.ewma_log);
        let (interval, average) = (print_time(interval), print_time(average));
        line.word(format_args!(
            "name {} interval {interval} ewmalog {average}",
            self.name
        ));
    }
}

/// The microseconds of `2^interval` seconds.
fn length(interval: i8) -> u32 {
    QUARTER << (interval + 2)
}

/// The logarithm of the weight whose time constant comes closest from below (libxt_RATEEST,
/// `RATEEST_final_check`); both times in microseconds.
fn ewma_log(interval: u32, average: u32) -> Option<u8> {
    let constant = |log: u8| {
        let weight = 1.0 - 1.0 / f64::from(1_u32 << log);
        f64::from(interval) / -weight.ln()
    };
    let above = (1..31).find(|&log| constant(log) > f64::from(average))?;
    (above > 1).then_some(above - 1)
}

/// A number, perhaps with a unit, in microseconds. It keeps 32 bits, as in the tool.
fn time(value: &Value<'_>) -> Result<u32, Problem> {
    let word = value.word(0);
    let read = || {
        let text = word.to_str().ok()?.trim_start();
        let (number, scale) = UNITS
            .iter()
            .filter_map(|(name, scale)| {
                let (number, unit) = text.split_at_checked(text.len().checked_sub(name.len())?)?;
                unit.eq_ignore_ascii_case(name).then_some((number, *scale))
            })
            .min_by_key(|(number, _)| number.len())
            .unwrap_or((text, 1.0));
        let time = float(number)? * scale;
        (0.0..u64::MAX as f64)
            .contains(&time)
            .then_some(time as u64 as u32)
    };
    read().ok_or_else(|| {
        Problem::new(format!("{:?} is no time", BStr::new(word)))
            .with_help("write it as 250ms, 500us or 1.5s")
    })
}

/// A number as `strtod` reads it, of its hexadecimal ones only those without a point.
fn float(text: &str) -> Option<f64> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok().map(f64::from),
        None if text.ends_with(char::is_whitespace) => None,
        None => text.parse().ok(),
    }
}

fn print_time(time: u32) -> String {
    let time = f64::from(time);
    if time >= SECOND {
        format!("{:.1}s", time / SECOND)
    } else if time >= 1e3 {
        format!("{:.1}ms", time / 1e3)
    } else {
        format!("{time}us")
    }
}
