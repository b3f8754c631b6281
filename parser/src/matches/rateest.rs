//! `-m rateest`: the rates of estimators (libxt_rateest, xt_rateest.c).

use bstr::{BStr, BString, ByteSlice};
use nom::Parser;
use nom::number::complete::recognize_float;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::number_of;

/// The `rateest` match: a rate of one estimator compared with a number or with the rate of another
/// estimator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateEst {
    /// `--rateest1`: the name of an estimator that a `RATEEST` target keeps, at most 15 bytes. The
    /// kernel must know it when the rule is loaded.
    pub estimator: BString,
    /// `--rateest2`: the estimator that the first is compared with.
    pub other: Option<BString>,
    /// `--rateest-lt`, `--rateest-gt` or `--rateest-eq`.
    pub comparison: Negatable<Comparison>,
    /// `--rateest-delta`: what is compared is how far the rate is below the first limit.
    pub delta: bool,
    /// Bytes per second, of which the tool reads and prints eightfold as bits.
    pub bytes: Option<Limits>,
    /// Packets per second.
    pub packets: Option<Limits>,
}

/// How two rates compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// The first is less.
    LessThan,
    /// The first is greater.
    GreaterThan,
    /// They are equal.
    Equal,
}

/// The limits of a rate. Those that the comparison has no use for are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Limits {
    /// `--rateest-bps1` or `--rateest-pps1`, used with a delta.
    pub first: u32,
    /// `--rateest-bps2` or `--rateest-pps2`, used with a delta or without another estimator.
    pub second: u32,
}

/// `IFNAMSIZ` less the NUL.
const NAME_LIMIT: usize = 15;

static ESTIMATOR: Opt<BString> =
    Opt::new(&["rateest1", "rateest"], |value| Ok(value.word(0).into()));
static OTHER: Opt<BString> = Opt::new(&["rateest2"], |value| Ok(value.word(0).into()));
static BYTES_1: Opt<u32> = Opt::new(&["rateest-bps1"], bytes).with_optional_word();
static BYTES_2: Opt<u32> = Opt::new(&["rateest-bps2", "rateest-bps"], bytes).with_optional_word();
static PACKETS_1: Opt<u32> = Opt::new(&["rateest-pps1"], packets).with_optional_word();
static PACKETS_2: Opt<u32> =
    Opt::new(&["rateest-pps2", "rateest-pps"], packets).with_optional_word();
static DELTA: Opt<()> = switch(&["rateest-delta"]);
static LESS_THAN: Opt<()> = switch(&["rateest-lt"]).invertible();
static GREATER_THAN: Opt<()> = switch(&["rateest-gt"]).invertible();
static EQUAL: Opt<()> = switch(&["rateest-eq"]).invertible();

/// Bits per second in a unit (tc(8)).
const UNITS: [(&str, f64); 18] = [
    ("bit", 1.0),
    ("kibit", 1024.0),
    ("kbit", 1e3),
    ("mibit", 1024.0 * 1024.0),
    ("mbit", 1e6),
    ("gibit", 1024.0 * 1024.0 * 1024.0),
    ("gbit", 1e9),
    ("tibit", 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("tbit", 1e12),
    ("bps", 8.0),
    ("kibps", 8.0 * 1024.0),
    ("kbps", 8e3),
    ("mibps", 8.0 * 1024.0 * 1024.0),
    ("mbps", 8e6),
    ("gibps", 8.0 * 1024.0 * 1024.0 * 1024.0),
    ("gbps", 8e9),
    ("tibps", 8.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("tbps", 8e12),
];

impl Extension for RateEst {
    const NAME: &'static str = "rateest";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &ESTIMATOR.spec,
        &OTHER.spec,
        &BYTES_1.spec,
        &BYTES_2.spec,
        &PACKETS_1.spec,
        &PACKETS_2.spec,
        &DELTA.spec,
        &LESS_THAN.spec,
        &GREATER_THAN.spec,
        &EQUAL.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let estimator = arguments.need(&ESTIMATOR)?.value;
        let estimator = arguments.cut(estimator, NAME_LIMIT).value;
        let other = arguments.get(&OTHER)?;
        let other = other.map(|given| arguments.cut(given.value, NAME_LIMIT).value);
        let comparison = comparison(arguments)?;
        let delta = arguments.has(&DELTA);
        let bytes = limits(arguments, &BYTES_1, &BYTES_2)?;
        let packets = limits(arguments, &PACKETS_1, &PACKETS_2)?;
        if bytes.is_none() && packets.is_none() {
            return Err(Diagnostic::error(
                code::MISSING_OPTION,
                arguments.span,
                "no rate is given",
            )
            .with_help("add --rateest-bps or --rateest-pps"));
        }
        let used = |limits: Limits| limits.used(delta, other.is_some());
        Ok(Self {
            estimator,
            bytes: bytes.map(used),
            packets: packets.map(used),
            other,
            comparison,
            delta,
        })
    }

    fn print(&self, line: &mut Line) {
        if self.delta {
            line.word("--rateest-delta");
        }
        line.word(match self.other {
            Some(_) => "--rateest1",
            None => "--rateest",
        });
        line.raw(&self.estimator);
        self.print_limits(line, "bps", self.bytes, bits);
        self.print_limits(line, "pps", self.packets, |rate| rate.to_string());
        if let Some(other) = &self.other {
            line.word("--rateest2");
            line.raw(other);
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(format_args!("rateest match {}", self.estimator));
        if self.delta {
            line.word("delta");
        }
        if self.other.is_none() {
            self.list_absolute(line);
        }
        let Some(other) = &self.other else { return };
        for (unit, limits) in [("bps", self.bytes), ("pps", self.packets)] {
            let Some(limits) = limits else { continue };
            line.word(unit);
            if self.delta {
                line.word(shown(unit, limits.first, line.style.numeric));
            }
        }
        self.list_relation(line);
        line.word(other);
        for (unit, limits) in [("bps", self.bytes), ("pps", self.packets)] {
            let Some(limits) = limits else { continue };
            line.word(unit);
            if self.delta {
                line.word(shown(unit, limits.second, line.style.numeric));
            }
        }
    }
}

impl Limits {
    /// With zeros where the comparison has no use for the limit.
    pub(crate) fn used(self, has_delta: bool, has_other: bool) -> Self {
        Self {
            first: if has_delta { self.first } else { 0 },
            second: if has_delta || !has_other {
                self.second
            } else {
                0
            },
        }
    }
}

impl RateEst {
    fn print_limits(
        &self,
        line: &mut Line,
        unit: &str,
        limits: Option<Limits>,
        show: fn(u32) -> String,
    ) {
        let Some(limits) = limits else { return };
        if self.delta {
            line.word(format!("--rateest-{unit}1"));
            line.word(show(limits.first));
        }
        line.option(
            self.comparison.negated,
            match self.comparison.value.value {
                Comparison::LessThan => "--rateest-lt",
                Comparison::GreaterThan => "--rateest-gt",
                Comparison::Equal => "--rateest-eq",
            },
        );
        if self.delta {
            line.word(format!("--rateest-{unit}2"));
        } else {
            line.word(format!("--rateest-{unit}"));
        }
        if self.delta || self.other.is_none() {
            line.word(show(limits.second));
        }
    }
}

/// The last one counts; one `!` inverts it, wherever it stands.
fn comparison(arguments: &Arguments<'_>) -> Result<Negatable<Comparison>, Diagnostic> {
    let mut comparison: Option<Negatable<Comparison>> = None;
    for given in arguments.given {
        for (option, value) in [
            (&LESS_THAN, Comparison::LessThan),
            (&GREATER_THAN, Comparison::GreaterThan),
            (&EQUAL, Comparison::Equal),
        ] {
            if given.is(&option.spec) {
                let is_inverted = comparison.is_some_and(|it| it.negated);
                let read = arguments.read(option, given)?;
                comparison = Some(Negatable {
                    negated: read.negated || is_inverted,
                    value: read.value.map(|()| value),
                });
            }
        }
    }
    comparison.ok_or_else(|| {
        Diagnostic::error(
            code::MISSING_OPTION,
            arguments.span,
            "no comparison is given",
        )
        .with_help("add --rateest-lt, --rateest-gt or --rateest-eq")
    })
}

fn limits(
    arguments: &Arguments<'_>,
    first: &'static Opt<u32>,
    second: &'static Opt<u32>,
) -> Result<Option<Limits>, Diagnostic> {
    let first = arguments.get(first)?;
    let second = arguments.get(second)?;
    if first.is_none() && second.is_none() {
        return Ok(None);
    }
    Ok(Some(Limits {
        first: first.map_or(0, |given| given.value.value),
        second: second.map_or(0, |given| given.value.value),
    }))
}

/// Packets per second, zero when left out.
fn packets(value: &Value<'_>) -> Result<u32, Problem> {
    match value.words {
        [] => Ok(0),
        _ => number_of(value.word(0)),
    }
}

/// Bits per second unless a unit says otherwise, as bytes per second, zero when left out. Of a rate
/// of more than 32 bits the tool takes the low ones; this refuses it.
fn bytes(value: &Value<'_>) -> Result<u32, Problem> {
    let word = match value.words {
        [] => return Ok(0),
        _ => value.word(0),
    };
    let bad = || {
        Problem::new(format!("{:?} is no rate", BStr::new(word)))
            .with_help("write a rate such as 800bit, 5kbit, 10mbit or 1mbps")
    };
    let mut number = recognize_float::<&[u8], nom::error::Error<&[u8]>>;
    let (unit, number) = number.parse(word.trim_start()).map_err(|_| bad())?;
    let number: f64 = number
        .to_str()
        .ok()
        .and_then(|number| number.parse().ok())
        .ok_or_else(bad)?;
    let scale = match unit {
        b"" => Some(1.0),
        unit => UNITS
            .iter()
            .find(|row| row.0.as_bytes().eq_ignore_ascii_case(unit))
            .map(|row| row.1),
    };
    let rate = number * scale.ok_or_else(bad)? / 8.0;
    if !(0.0..=f64::from(u32::MAX)).contains(&rate) {
        let message = format!("the rate {} is out of range", BStr::new(word));
        return Err(Problem::new(message).with_help("34gbit is about the fastest"));
    }
    Ok(rate as u32)
}

impl RateEst {
    /// The test of one estimator.
    fn list_absolute(&self, line: &mut Listing<'_>) {
        let numeric = line.style.numeric;
        if let Some(limits) = self.bytes {
            line.word("bps");
            if self.delta {
                line.word(shown("bps", limits.first, numeric));
            }
            line.word(shown("bps", limits.second, numeric));
            self.list_relation(line);
        }
        if let Some(limits) = self.packets {
            line.word("pps");
            if self.delta {
                line.word(limits.first);
            }
            self.list_relation(line);
            line.word(limits.second);
        }
    }

    fn list_relation(&self, line: &mut Listing<'_>) {
        if self.comparison.negated {
            line.word("!");
        }
        line.word(match self.comparison.value.value {
            Comparison::LessThan => "lt",
            Comparison::GreaterThan => "gt",
            Comparison::Equal => "eq",
        });
    }
}

/// A rate in a listing.
fn shown(unit: &str, rate: u32, numeric: bool) -> String {
    match unit == "bps" && !numeric {
        true => bits(rate),
        false => rate.to_string(),
    }
}

/// Bits per second in the unit of save.
fn bits(rate: u32) -> String {
    let bits = f64::from(rate) * 8.0;
    if bits >= 1e9 {
        format!("{:.0}Mbit", bits / 1e6)
    } else if bits >= 1e6 {
        format!("{:.0}Kbit", bits / 1e3)
    } else {
        format!("{bits:.0}bit")
    }
}
