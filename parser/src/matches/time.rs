//! `-m time`: the time of arrival (libxt_time, xt_time.c).

use std::fmt;

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;

/// The `time` match. Times are UTC unless `kernel_timezone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Time {
    /// `--datestart`, in seconds since 1970; 0 unless told.
    pub first_second: u32,
    /// `--datestop`, in seconds since 1970, included; 2^31 - 1 unless told.
    pub last_second: u32,
    /// `--timestart`, in seconds since midnight; 0 unless told.
    pub day_start: u32,
    /// `--timestop`, in seconds since midnight, included; 86399 unless told. Before the start, it
    /// lies on the next day.
    pub day_stop: u32,
    /// `--weekdays`: bit 1 for Monday to bit 7 for Sunday.
    pub weekdays: u8,
    /// `--monthdays`: bits 1 to 31. Bit 0 is no day.
    pub monthdays: u32,
    /// `--kerneltz`: by the clock of the kernel's time zone.
    pub kernel_timezone: bool,
    /// `--contiguous`: the hours behind midnight belong to the day before.
    pub contiguous: bool,
}

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;
const DAY: u32 = 24 * HOUR;
/// The default of `--datestop`, which save prints.
const LAST_SECOND: u32 = i32::MAX as u32;
const EVERY_WEEKDAY: u8 = 0xfe;
const EVERY_MONTHDAY: u32 = 0xffff_fffe;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

static FIRST_SECOND: Opt<u32> = Opt::new(&["datestart"], date);
static LAST: Opt<u32> = Opt::new(&["datestop"], date);
static DAY_START: Opt<u32> = Opt::new(&["timestart"], clock);
static DAY_STOP: Opt<u32> = Opt::new(&["timestop"], clock);
static WEEKDAY_LIST: Opt<u8> =
    Opt::new(&["weekdays"], |value| weekdays(value.word(0))).invertible();
static MONTHDAY_LIST: Opt<u32> =
    Opt::new(&["monthdays"], |value| monthdays(value.word(0))).invertible();
static LOCAL_TIMEZONE: Opt<()> = switch(&["localtz"]);
static UTC: Opt<()> = switch(&["utc"]);
static KERNEL_TIMEZONE: Opt<()> = switch(&["kerneltz"]);
static CONTIGUOUS: Opt<()> = switch(&["contiguous"]);

/// A day of the month as the tool says it, with its own endings.
fn ordinal(day: u32) -> String {
    let ending = match day % 10 {
        1 => "st",
        2 => "nd",
        3 => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}

impl Extension for Time {
    const NAME: &'static str = "time";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &FIRST_SECOND.spec,
        &LAST.spec,
        &DAY_START.spec,
        &DAY_STOP.spec,
        &WEEKDAY_LIST.spec,
        &MONTHDAY_LIST.spec,
        &LOCAL_TIMEZONE.spec,
        &UTC.spec,
        &KERNEL_TIMEZONE.spec,
        &CONTIGUOUS.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&UTC.spec, &KERNEL_TIMEZONE.spec])?;
        arguments.at_most_one(&[&UTC.spec, &LOCAL_TIMEZONE.spec])?;
        let value = |given: Option<Negatable<u32>>, default: u32| {
            given.map_or(default, |given| given.value.value)
        };
        let time = Self {
            first_second: value(arguments.get(&FIRST_SECOND)?, 0),
            last_second: value(arguments.get(&LAST)?, LAST_SECOND),
            day_start: value(arguments.get(&DAY_START)?, 0),
            day_stop: value(arguments.get(&DAY_STOP)?, DAY - 1),
            weekdays: match arguments.get(&WEEKDAY_LIST)? {
                None => EVERY_WEEKDAY,
                Some(list) if list.negated => EVERY_WEEKDAY ^ list.value.value,
                Some(list) => list.value.value,
            },
            monthdays: match arguments.get(&MONTHDAY_LIST)? {
                None => EVERY_MONTHDAY,
                Some(list) if list.negated => EVERY_MONTHDAY ^ list.value.value,
                Some(list) => list.value.value,
            },
            kernel_timezone: arguments.has(&KERNEL_TIMEZONE) || arguments.has(&LOCAL_TIMEZONE),
            contiguous: arguments.has(&CONTIGUOUS),
        };
        if time.contiguous && time.day_start < time.day_stop {
            let message = "--contiguous needs hours that go over midnight";
            return Err(Diagnostic::error(code::BAD_VALUE, arguments.span, message)
                .with_help("leave it out, or let --timestop lie before --timestart"));
        }
        let has_day = time.weekdays != 0 && time.monthdays & EVERY_MONTHDAY != 0;
        if !has_day || time.last_second < time.first_second {
            let message = "no time fits, so this rule never matches";
            arguments.warn(
                Diagnostic::warning(code::NEVER_MATCHES, arguments.span, message)
                    .with_help("iptables-save cannot show a list of no days, nor a stop in 1970"),
            );
        }
        Ok(time)
    }

    fn print(&self, line: &mut Line) {
        if self.day_start != 0 || self.day_stop != DAY - 1 {
            line.word("--timestart");
            line.word(Clock(self.day_start));
            line.word("--timestop");
            line.word(Clock(self.day_stop));
        }
        if self.monthdays != EVERY_MONTHDAY {
            let days = (1..=31).filter(|day| self.monthdays & 1 << day != 0);
            let days: Vec<String> = days.map(|day: u32| day.to_string()).collect();
            line.word("--monthdays");
            line.word(days.join(","));
        }
        if self.weekdays != EVERY_WEEKDAY {
            let days = (1..=7).zip(WEEKDAYS);
            let days = days.filter(|(bit, _)| self.weekdays & 1 << bit != 0);
            let days: Vec<&str> = days.map(|(_, name)| name).collect();
            line.word("--weekdays");
            line.word(days.join(","));
        }
        for (second, option) in [
            (self.first_second, "--datestart"),
            (self.last_second, "--datestop"),
        ] {
            if second != 0 {
                line.word(option);
                line.word(Date(second));
            }
        }
        if self.kernel_timezone {
            line.word("--kerneltz");
        }
        if self.contiguous {
            line.word("--contiguous");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("TIME");
        if self.day_start != 0 || self.day_stop != DAY - 1 {
            let (start, stop) = (Clock(self.day_start), Clock(self.day_stop));
            line.word(format_args!("from {start} to {stop}"));
        }
        if self.weekdays != EVERY_WEEKDAY {
            let days = (1..=7).zip(WEEKDAYS);
            let days = days.filter(|(bit, _)| self.weekdays & 1 << bit != 0);
            let days: Vec<&str> = days.map(|(_, name)| name).collect();
            line.word(format_args!("on {}", days.join(",")));
        }
        if self.monthdays != EVERY_MONTHDAY {
            let days = (1..=31).filter(|day| self.monthdays & 1 << day != 0);
            let days: Vec<String> = days.map(ordinal).collect();
            line.word(format_args!("on {}", days.join(",")));
        }
        let shown = |second| Date(second).to_string().replace('T', " ");
        match self.first_second {
            0 => {}
            first => line.word(format_args!("starting from {}", shown(first))),
        }
        match self.last_second {
            LAST_SECOND => {}
            // The tool has no words for the first second of all.
            0 => line.word("until date"),
            last => line.word(format_args!("until date {}", shown(last))),
        }
        if !self.kernel_timezone {
            line.word("UTC");
        }
        if self.contiguous {
            line.word("contiguous");
        }
    }
}

/// Seconds since midnight as `hh:mm:ss`.
struct Clock(u32);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clock(second) = self;
        write!(
            f,
            "{:02}:{:02}:{:02}",
            second / HOUR,
            second / MINUTE % 60,
            second % 60
        )
    }
}

/// Seconds since 1970 as `yyyy-mm-ddThh:mm:ss`.
struct Date(u32);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date(second) = self;
        let day = second / DAY;
        // The last year, and then the last month, that does not start after the day.
        let last = |low: u32, high: u32, start: &dyn Fn(u32) -> u32| {
            (low..=high).rfind(|&it| start(it) <= day).unwrap_or(low)
        };
        let year = last(1970, 2106, &|year| days_before(year, 1));
        let month = last(1, 12, &|month| days_before(year, month));
        let day_of_month = day - days_before(year, month) + 1;
        write!(
            f,
            "{year}-{month:02}-{day_of_month:02}T{}",
            Clock(second % DAY)
        )
    }
}

/// The days from 1970 to the first of a month, in the Gregorian calendar.
fn days_before(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if is_leap { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30];
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let days: u32 = months.iter().take(month as usize - 1).sum();
    (year - 1970) * 365 + leap_days + days
}

/// A decimal number as `strtoul` reads it, none for nothing at all, and what follows it.
fn decimal(text: &[u8]) -> Option<(u32, &[u8])> {
    let text = text.trim_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    match digits {
        b"" if rest.starts_with(b"-") => None,
        b"" => Some((0, rest)),
        _ => Some((digits.to_str().ok()?.parse().ok()?, rest)),
    }
}

/// Numbers up to the limits, each behind its separator, until a separator is missing. Gives the
/// number of fields that were there, and what follows them.
fn fields<'a, const N: usize>(
    mut text: &'a [u8],
    separators: [u8; N],
    limits: [u32; N],
    values: &mut [u32; N],
) -> Option<(usize, &'a [u8])> {
    let mut count = 0;
    for ((value, limit), separator) in values.iter_mut().zip(limits).zip(separators) {
        let Some(behind) = text.strip_prefix(&[separator]) else {
            break;
        };
        (*value, text) = decimal(behind).filter(|(value, _)| *value <= limit)?;
        count += 1;
    }
    Some((count, text))
}

/// `hh:mm[:ss]`
fn clock(value: &Value<'_>) -> Result<u32, Problem> {
    let word = value.word(0);
    let seconds = || {
        let (hour, rest) = decimal(word).filter(|(hour, _)| *hour <= 23)?;
        let mut time = [0, 0];
        match fields(rest, [b':', b':'], [59, 59], &mut time)? {
            (1.., b"") => Some(hour * HOUR + time[0] * MINUTE + time[1]),
            _ => None,
        }
    };
    seconds().ok_or_else(|| {
        Problem::new(format!("{:?} is no time of the day", BStr::new(word))).usage(format!("invalid time \"{}\" specified, should be hh:mm[:ss] format and within the boundaries", BStr::new(word)))
            .with_help("write hh:mm or hh:mm:ss")
    })
}

/// `yyyy[-mm[-dd[Thh[:mm[:ss]]]]]`. A day past the month's end is one of the next month; month 0 and
/// day 0 are the ones before the first, as in mktime(3).
fn date(value: &Value<'_>) -> Result<u32, Problem> {
    let word = value.word(0);
    let seconds = || {
        let (year, rest) = decimal(word).filter(|(year, _)| (1970..=2038).contains(year))?;
        let (mut date, mut time) = ([1, 1], [0, 0, 0]);
        let end = match fields(rest, [b'-', b'-'], [12, 31], &mut date)? {
            (2, rest) => fields(rest, [b'T', b':', b':'], [23, 59, 59], &mut time)?.1,
            (_, rest) => rest,
        };
        let first = match date[0] {
            0 => days_before(year, 1).checked_sub(31)?,
            month => days_before(year, month),
        };
        let days = (first + date[1]).checked_sub(1)?;
        let [hour, minute, second] = time;
        end.is_empty()
            .then_some(days * DAY + hour * HOUR + minute * MINUTE + second)
    };
    seconds().ok_or_else(|| {
        Problem::new(format!("{:?} is no date", BStr::new(word)))
            .with_help("write yyyy-mm-dd or yyyy-mm-ddThh:mm:ss, from 1970 to 2038")
    })
}

/// Days between commas: numbers, or names by their first two letters. Numbers past 7 are no day.
/// Three bytes of each item are read (libxt_time, `time_parse_weekdays`).
fn weekdays(word: &[u8]) -> Result<u8, Problem> {
    let mut days = 0;
    for item in items(word, 3) {
        let named = WEEKDAYS
            .iter()
            .position(|name| item.len() >= 2 && name.as_bytes()[..2] == item[..2]);
        let number = decimal(item)
            .filter(|(_, rest)| rest.is_empty())
            .map(|(number, _)| number);
        match named.map(|index| index as u32 + 1).or(number) {
            None => {
                return Err(
                    Problem::new(format!("{:?} is no day of the week", BStr::new(item)))
                        .with_help("write 1 to 7 or Mon, Tue, Wed, Thu, Fri, Sat, Sun"),
                );
            }
            Some(0) => {
                return Err(Problem::new("the week begins with Monday, which is day 1")
                    .with_help("write 7 or Sun for Sunday"));
            }
            Some(day) => days |= 1_u8.checked_shl(day).unwrap_or(0),
        }
    }
    Ok(days)
}

/// Numbers between commas, of which 0 and nothing are no day. Two bytes of each item are read
/// (libxt_time, `time_parse_monthdays`).
fn monthdays(word: &[u8]) -> Result<u32, Problem> {
    let mut days = 0;
    for item in items(word, 2) {
        match decimal(item) {
            Some((day @ 0..=31, b"")) => days |= 1 << day,
            _ => {
                return Err(
                    Problem::new(format!("{:?} is no day of a month", BStr::new(item)))
                        .with_help("write numbers from 1 to 31 between commas"),
                );
            }
        }
    }
    Ok(days)
}

/// The first bytes of what stands between commas; a last comma ends the list, and an empty list has
/// no items.
fn items(word: &[u8], length: usize) -> impl Iterator<Item = &[u8]> {
    let list = (!word.is_empty()).then(|| word.strip_suffix(b",").unwrap_or(word));
    let items = list.into_iter().flat_map(|list| list.split_str(","));
    items.map(move |item| item.get(..length).unwrap_or(item))
}
