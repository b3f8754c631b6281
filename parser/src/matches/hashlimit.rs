//! `-m hashlimit`: a token bucket for each address or port (libxt_hashlimit, xt_hashlimit.c).

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use super::Bound;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::rate::{self, Unit};
use crate::ruleset::Family;
use crate::span::Spanned;
use crate::value::{leading_integer, prefix_length, word32};

/// The `hashlimit` match. All rules of a family that name the same table share its buckets, and the
/// first of them says how the buckets fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hashlimit {
    /// Whether what keeps to the rate matches or what exceeds it.
    pub bound: Bound,
    /// `--hashlimit-upto` or `--hashlimit-above`, with `--hashlimit-burst`
    pub rate: Rate,
    /// `--hashlimit-mode`
    pub key: Key,
    /// `--hashlimit-name`: 1 to 254 bytes.
    pub name: BString,
    /// `--hashlimit-htable-size`: the number of hash chains; 0 leaves it to the kernel.
    pub size: u32,
    /// `--hashlimit-htable-max`: the number of buckets; 0 leaves it to the kernel.
    pub max: u32,
    /// `--hashlimit-htable-gcinterval`: milliseconds between two searches for idle buckets.
    pub gc_interval: u32,
    /// `--hashlimit-htable-expire`: milliseconds after which an idle bucket is dropped.
    pub expire: u32,
    /// `--hashlimit-srcmask`: how many leading bits of the source address count; none for all.
    pub source_length: Option<u8>,
    /// `--hashlimit-dstmask`: how many leading bits of the destination address count; none for all.
    pub destination_length: Option<u8>,
    /// `--hashlimit-rate-match` with `--hashlimit-rate-interval`: no bucket is emptied; what comes
    /// in so many seconds is compared with the rate.
    pub interval: Option<u32>,
}

/// How fast a bucket fills and how much it holds, in the units that the kernel gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rate {
    /// A packet takes a token.
    Packets {
        /// Millionths of a second per token (`XT_HASHLIMIT_SCALE_v2`).
        average: u64,
        /// Tokens that may be saved up.
        burst: u64,
    },
    /// Every 16 bytes of a packet, and one part more, take a token.
    Bytes {
        /// `(2^32 - 1) / (tokens a second + 1)`
        cost: u32,
        /// How often an empty bucket may be filled for a second; 0 when no burst is given.
        burst: u32,
    },
}

/// What tells the buckets apart. Nothing: there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Key {
    /// `srcip`
    pub source_address: bool,
    /// `srcport`
    pub source_port: bool,
    /// `dstip`
    pub destination_address: bool,
    /// `dstport`
    pub destination_port: bool,
}

/// `XT_HASHLIMIT_SCALE_v2`
const SCALE: u64 = 1_000_000;
/// `XT_HASHLIMIT_BURST`
const DEFAULT_BURST: u64 = 5;
/// `XT_HASHLIMIT_BURST_MAX`
const BURST_LIMIT: u64 = 1_000_000;
/// `XT_HASHLIMIT_GCINTERVAL`, in milliseconds
const DEFAULT_GC_INTERVAL: u32 = 1000;
/// `XT_HASHLIMIT_BYTE_EXPIRE`, in seconds
const BYTES_EXPIRE: u32 = 15;
/// `XT_HASHLIMIT_BYTE_EXPIRE_BURST`, in seconds
const BYTES_EXPIRE_BURST: u32 = 60;
/// `XT_HASHLIMIT_BYTE_SHIFT`: a token is for 16 bytes.
const TOKEN_SHIFT: u32 = 4;
/// `HASHLIMIT_MAX_SIZE` of xt_hashlimit.c, to which it cuts both sizes.
const SIZE_LIMIT: u32 = 1_048_576;
/// `NAME_MAX` less the NUL.
const NAME_LIMIT: usize = 254;
/// `HZ * CREDITS_PER_JIFFY / XT_HASHLIMIT_SCALE_v2` of xt_hashlimit.c for an HZ of 250.
const CREDITS_PER_MICROSECOND: u64 = 137_438_953;

/// A rate before its burst is known.
#[derive(Clone, Copy)]
enum Speed {
    Packets { average: u64, unit: Unit },
    Bytes { cost: u32 },
}

static UPTO: Opt<Speed> = Opt::new(&["hashlimit-upto", "hashlimit"], speed).invertible();
static ABOVE: Opt<Speed> = Opt::new(&["hashlimit-above"], speed).invertible();
static SOURCE_LENGTH: Opt<Option<u8>> = Opt::new(&["hashlimit-srcmask"], length);
static DESTINATION_LENGTH: Opt<Option<u8>> = Opt::new(&["hashlimit-dstmask"], length);
static BURST: Opt<u64> = Opt::new(&["hashlimit-burst"], |value| burst(value.word(0)));
static SIZE: Opt<u32> = Opt::new(&["hashlimit-htable-size"], number);
static MAX: Opt<u32> = Opt::new(&["hashlimit-htable-max"], number);
static GC_INTERVAL: Opt<u32> = Opt::new(&["hashlimit-htable-gcinterval"], milliseconds);
static EXPIRE: Opt<u32> = Opt::new(&["hashlimit-htable-expire"], milliseconds);
static MODE: Opt<Key> = Opt::new(&["hashlimit-mode"], |value| key(value.word(0)));
static NAME: Opt<BString> = Opt::new(&["hashlimit-name"], |value| name(value.word(0)));
static RATE_MATCH: Opt<()> = switch(&["hashlimit-rate-match"]);
static RATE_INTERVAL: Opt<u32> = Opt::new(&["hashlimit-rate-interval"], |value| {
    leading_decimal(value.word(0))
        .and_then(|seconds| i32::try_from(seconds).ok())
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|&seconds| seconds != 0)
        .ok_or_else(|| Problem::new("an interval is a number of seconds from 1 on"))
});

impl Extension for Hashlimit {
    const NAME: &'static str = "hashlimit";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &UPTO.spec,
        &ABOVE.spec,
        &SOURCE_LENGTH.spec,
        &DESTINATION_LENGTH.spec,
        &BURST.spec,
        &SIZE.spec,
        &MAX.spec,
        &GC_INTERVAL.spec,
        &EXPIRE.spec,
        &MODE.spec,
        &NAME.spec,
        &RATE_MATCH.spec,
        &RATE_INTERVAL.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&UPTO.spec, &ABOVE.spec])?;
        let up_to = arguments.get(&UPTO)?.map(|given| (Bound::UpTo, given));
        let above = arguments.get(&ABOVE)?.map(|given| (Bound::Above, given));
        let (bound, speed) = up_to.or(above).ok_or_else(|| {
            Diagnostic::error(code::MISSING_OPTION, arguments.span, "no rate is given")
                .usage("You have to specify --hashlimit")
                .with_help("add --hashlimit-upto or --hashlimit-above")
        })?;
        let name = arguments.need(&NAME)?.value.value;
        let interval = rate_interval(arguments, speed.value.value)?;
        let rate = rate(arguments, &speed.value, interval.is_some())?;
        let usual_expire = default_expire(speed.value.value, rate);
        Ok(Self {
            bound: bound.negated_if(speed.negated),
            rate,
            key: value_or(arguments, &MODE, Key::default())?,
            name,
            size: value_or(arguments, &SIZE, 0)?.min(SIZE_LIMIT),
            max: value_or(arguments, &MAX, 0)?.min(SIZE_LIMIT),
            gc_interval: value_or(arguments, &GC_INTERVAL, DEFAULT_GC_INTERVAL)?,
            expire: value_or(arguments, &EXPIRE, usual_expire)?,
            source_length: value_or(arguments, &SOURCE_LENGTH, None)?,
            destination_length: value_or(arguments, &DESTINATION_LENGTH, None)?,
            interval,
        })
    }

    fn print(&self, line: &mut Line) {
        line.word(match self.bound {
            Bound::UpTo => "--hashlimit-upto",
            Bound::Above => "--hashlimit-above",
        });
        let usual_expire = self.rate.print(line);
        let key = self.key.save();
        if !key.is_empty() {
            line.word("--hashlimit-mode");
            line.word(key);
        }
        line.word("--hashlimit-name");
        line.raw(&self.name);
        for (option, value, default) in [
            ("--hashlimit-htable-size", self.size, 0),
            ("--hashlimit-htable-max", self.max, 0),
            (
                "--hashlimit-htable-gcinterval",
                self.gc_interval,
                DEFAULT_GC_INTERVAL,
            ),
            ("--hashlimit-htable-expire", self.expire, usual_expire),
        ] {
            if value != default {
                line.word(option);
                line.word(value);
            }
        }
        for (option, length) in [
            ("--hashlimit-srcmask", self.source_length),
            ("--hashlimit-dstmask", self.destination_length),
        ] {
            if let Some(length) = length {
                line.word(option);
                line.word(length);
            }
        }
        if let Some(interval) = self.interval {
            line.word("--hashlimit-rate-match");
            if interval != 1 {
                line.word("--hashlimit-rate-interval");
                line.word(interval);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(match self.bound {
            Bound::UpTo => "limit: up to",
            Bound::Above => "limit: above",
        });
        let mut rate = Line::default();
        let usual_expire = match (self.rate, self.interval) {
            (Rate::Packets { average, burst }, Some(interval)) => {
                let average = average.saturating_mul(interval.into());
                Rate::Packets { average, burst }.print(&mut rate)
            }
            (usual, _) => usual.print(&mut rate),
        };
        for word in rate.into_bytes().split_str(" ").skip(1) {
            line.word(word.strip_prefix(b"--hashlimit-").unwrap_or(word).as_bstr());
        }
        let key = self.key.save().replace(',', "-");
        if !key.is_empty() {
            line.word(format_args!("mode {key}"));
        }
        for (name, value, default) in [
            ("htable-size", self.size, 0),
            ("htable-max", self.max, 0),
            ("htable-gcinterval", self.gc_interval, DEFAULT_GC_INTERVAL),
            ("htable-expire", self.expire, usual_expire),
        ] {
            if value != default {
                line.word(format_args!("{name} {value}"));
            }
        }
        for (name, length) in [
            ("srcmask", self.source_length),
            ("dstmask", self.destination_length),
        ] {
            if let Some(length) = length {
                line.word(format_args!("{name} {length}"));
            }
        }
        if let Some(interval) = self.interval {
            line.word("rate-match");
            if interval != 1 {
                line.word(format_args!("rate-interval {interval}"));
            }
        }
    }
}

impl Rate {
    /// Prints the rate and its burst. Gives the milliseconds that the tool takes for the usual
    /// lifetime of a bucket of this rate.
    fn print(self, line: &mut Line) -> u32 {
        match self {
            Rate::Packets { average, burst } => {
                let (number, unit) = rate::saved(average, SCALE);
                line.word(format!("{number}/{}", unit.saved_as));
                line.word("--hashlimit-burst");
                line.word(burst);
                unit.seconds * 1000
            }
            Rate::Bytes { cost, burst } => {
                let bytes = bytes_of(cost);
                // The tool's mask has 32 bits, so that a rate above shows all its digits.
                let rounded = |size: u64| bytes & !(size - 1) & u64::from(u32::MAX);
                let is_kept = |&(size, _): &(u64, &str)| {
                    bytes >= size && cost_of(rounded(size)) == Some(cost)
                };
                let (size, name) = SIZES.into_iter().find(is_kept).unwrap_or((1, ""));
                line.word(format!("{}{name}b/s", bytes / size));
                if burst == 0 {
                    return BYTES_EXPIRE * 1000;
                }
                let bytes = bytes.saturating_mul(u64::from(burst));
                let fits = |&(size, _): &(u64, &str)| bytes >= size;
                let (size, name) = SIZES.into_iter().find(fits).unwrap_or((1, ""));
                line.word("--hashlimit-burst");
                line.word(format!("{}{name}b", bytes / size));
                BYTES_EXPIRE_BURST * 1000
            }
        }
    }
}

impl Key {
    fn save(self) -> String {
        let names = [
            ("srcip", self.source_address),
            ("srcport", self.source_port),
            ("dstip", self.destination_address),
            ("dstport", self.destination_port),
        ];
        let names: Vec<&str> = names.iter().filter(|row| row.1).map(|row| row.0).collect();
        names.join(",")
    }
}

/// The units of bytes that save tries, from the greatest.
const SIZES: [(u64, &str); 2] = [(1024 * 1024, "m"), (1024, "k")];

/// The unit that a letter stands for; any other is ignored, as the tool does.
fn size_of_unit(letter: Option<&u8>) -> u64 {
    match letter {
        Some(b'm') => 1024 * 1024,
        Some(b'k') => 1024,
        _ => 1,
    }
}

/// The kernel's number for a rate in bytes a second, in the tool's arithmetic (`bytes_to_cost`).
fn cost_of(bytes: u64) -> Option<u32> {
    let tokens = (bytes >> TOKEN_SHIFT) as u32;
    Some(u32::MAX / tokens.checked_add(1)?)
}

/// The rate in bytes a second that such a number stands for (`cost_to_bytes`).
fn bytes_of(cost: u32) -> u64 {
    let tokens = u32::MAX.checked_div(cost).unwrap_or(u32::MAX);
    u64::from(tokens - 1) << TOKEN_SHIFT
}

/// What `--hashlimit-rate-match` compares over, in seconds.
fn rate_interval(arguments: &Arguments<'_>, speed: Speed) -> Result<Option<u32>, Diagnostic> {
    let usual = match speed {
        Speed::Packets { unit, .. } => unit.seconds,
        Speed::Bytes { .. } => 1,
    };
    let interval = value_or(arguments, &RATE_INTERVAL, usual)?;
    Ok(arguments.has(&RATE_MATCH).then_some(interval))
}

/// Milliseconds after which an idle bucket is dropped unless the rule says.
fn default_expire(speed: Speed, rate: Rate) -> u32 {
    let seconds = match (speed, rate) {
        (Speed::Packets { unit, .. }, _) => unit.seconds,
        (Speed::Bytes { .. }, Rate::Bytes { burst: 0, .. }) => BYTES_EXPIRE,
        (Speed::Bytes { .. }, _) => BYTES_EXPIRE_BURST,
    };
    seconds * 1000
}

/// The rate with its burst, checked as the tool and the kernel do (`hashlimit_mt_check`;
/// xt_hashlimit.c, `hashlimit_mt_check_common`).
fn rate(
    arguments: &Arguments<'_>,
    speed: &Spanned<Speed>,
    is_rate_match: bool,
) -> Result<Rate, Diagnostic> {
    let burst = arguments.get(&BURST)?.map(|given| given.value);
    let refuse = |span, message: &str| Err(Diagnostic::error(code::BAD_VALUE, span, message));
    match speed.value {
        Speed::Packets { average, unit } => {
            let span = burst.as_ref().map_or(speed.span, |it| it.span);
            let burst = burst.map_or(DEFAULT_BURST, |it| it.value);
            if burst > BURST_LIMIT {
                let message = format!("a burst is a number from 1 to {BURST_LIMIT}");
                return refuse(span, &message);
            }
            let average = match is_rate_match {
                true => average / u64::from(unit.seconds),
                false => average,
            };
            if average == 0 {
                return refuse(
                    speed.span,
                    "the rate is too fast for --hashlimit-rate-match",
                );
            }
            let credits = |micros: u64| micros.wrapping_mul(CREDITS_PER_MICROSECOND);
            if !is_rate_match && credits(average.wrapping_mul(burst)) < credits(average) {
                let message = format!("the kernel refuses a burst of {burst} at this rate");
                return refuse(span, &message)
                    .map_err(|it| it.with_help("use a smaller burst for slow rates"));
            }
            Ok(Rate::Packets { average, burst })
        }
        Speed::Bytes { cost } => {
            // The kernel gives no credit for less.
            if cost < 2 && !is_rate_match {
                return refuse(speed.span, "the rate is too high for the kernel");
            }
            let Some(Spanned { value, span }) = burst else {
                return Ok(Rate::Bytes { cost, burst: 0 });
            };
            let second = bytes_of(cost);
            match u32::try_from(value) {
                Ok(bytes) if second != 0 && value >= second => {
                    let burst = u64::from(bytes).div_ceil(second) as u32;
                    Ok(Rate::Bytes { cost, burst })
                }
                Ok(_) => {
                    refuse(span, "the burst is smaller than the rate of a second").map_err(|it| {
                        it.with_help(format!("write at least {}b", second.max(1 << TOKEN_SHIFT)))
                    })
                }
                Err(_) => refuse(span, "iptables cannot hold a burst of 4096mb and more"),
            }
        }
    }
}

fn value_or<T>(
    arguments: &Arguments<'_>,
    option: &'static Opt<T>,
    default: T,
) -> Result<T, Diagnostic> {
    let given = arguments.get(option)?;
    Ok(given.map_or(default, |given| given.value.value))
}

/// `BYTESb/s`, `KILOBYTESkb/s` or `MEGABYTESmb/s`, else `PACKETS[/UNIT]`. What stands between the
/// number and its unit is ignored, as the tool does.
fn speed(value: &Value<'_>) -> Result<Speed, Problem> {
    let word = value.word(0);
    let bad = || {
        Problem::new(format!("{:?} is no rate", BStr::new(word)))
            .usage(format!("bad rate \"{}\"'", BStr::new(word)))
            .with_help("write a rate such as 5/second, 10/hour, 512kb/s or 10mb/s")
    };
    let too_fast = || Problem::new(format!("the rate {:?} is too fast", BStr::new(word)));
    let number = leading_decimal(word).filter(|&number| number != 0);
    if let (Some(end @ 1..), Some(number)) = (word.find("b/s"), number) {
        let bytes = number.checked_mul(size_of_unit(word.get(end - 1)));
        let cost = bytes.and_then(cost_of).ok_or_else(too_fast)?;
        return Ok(Speed::Bytes { cost });
    }
    let unit = match word.split_once_str("/") {
        None => rate::SECOND,
        Some((_, unit)) => rate::unit(unit).ok_or_else(bad)?,
    };
    let number = number.ok_or_else(bad)?;
    match SCALE * u64::from(unit.seconds) / number {
        0 => Err(too_fast().with_help("1000000/second is the fastest")),
        average => Ok(Speed::Packets { average, unit }),
    }
}

/// A number of packets, or of bytes with a unit.
fn burst(word: &[u8]) -> Result<u64, Problem> {
    let bad = || {
        Problem::new(format!("{:?} is no burst", BStr::new(word))).with_help(format!(
            "write a number of packets from 1 to {BURST_LIMIT}, or of bytes such as 400kb or 1mb"
        ))
    };
    let (number, unit) = leading_integer(word).ok_or_else(bad)?;
    if number == 0 || (unit.is_empty() && number > BURST_LIMIT) {
        return Err(bad());
    }
    number
        .checked_mul(size_of_unit(unit.first()))
        .ok_or_else(bad)
}

/// The decimal number that a word starts with, as `atoi` finds it.
fn leading_decimal(word: &[u8]) -> Option<u64> {
    let word = word.trim_start();
    let word = word.strip_prefix(b"+").unwrap_or(word);
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    word[..digits].to_str().ok()?.parse().ok()
}

/// Names between commas or bars; empty ones are skipped, as `strtok` does.
fn key(word: &[u8]) -> Result<Key, Problem> {
    let mut key = Key::default();
    for name in word.split(|byte| matches!(byte, b',' | b'|')) {
        match name {
            b"" => {}
            b"srcip" => key.source_address = true,
            b"srcport" => key.source_port = true,
            b"dstip" => key.destination_address = true,
            b"dstport" => key.destination_port = true,
            other => {
                let message = format!("{:?} is no mode", BStr::new(other));
                return Err(Problem::new(message)
                    .with_help("the modes are srcip, srcport, dstip and dstport"));
            }
        }
    }
    Ok(key)
}

/// A file name in /proc/net/ipt_hashlimit (x_tables.c, `xt_check_proc_name`).
fn name(word: &[u8]) -> Result<BString, Problem> {
    match word {
        b"" => Err(Problem::new("the name is empty")),
        b"." | b".." => Err(Problem::new("a name must be possible for a file")),
        _ if word.contains(&b'/') => Err(Problem::new("a name holds no /")),
        _ if word.len() > NAME_LIMIT => Err(Problem::new(format!(
            "the name is longer than {NAME_LIMIT} bytes"
        ))),
        _ => Ok(word.into()),
    }
}

fn number(value: &Value<'_>) -> Result<u32, Problem> {
    let word = value.word(0);
    word32(word).ok_or_else(|| {
        Problem::new(format!(
            "{:?} is no number of at most 32 bits",
            BStr::new(word)
        ))
    })
}

fn milliseconds(value: &Value<'_>) -> Result<u32, Problem> {
    match number(value)? {
        0 => Err(Problem::new("the kernel refuses 0 milliseconds")),
        milliseconds => Ok(milliseconds),
    }
}

fn length(value: &Value<'_>) -> Result<Option<u8>, Problem> {
    let family = value.rule.family;
    let longest = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    let length = prefix_length(value.word(0), family)?;
    Ok((length != longest).then_some(length))
}
