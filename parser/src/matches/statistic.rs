//! `-m statistic`: at random, or every n-th packet (libxt_statistic, xt_statistic.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::integer;

/// The `statistic` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Statistic {
    /// `--mode random`
    Random {
        /// `--probability` in parts of 2^31, as the kernel gets it.
        probability: Negatable<u32>,
    },
    /// `--mode nth`
    Nth {
        /// `--every`: the length of the cycle, at least 1.
        every: Negatable<u32>,
        /// `--packet`: which packet of the cycle, from 0, less than its length.
        packet: u32,
    },
}

#[derive(Clone, Copy)]
enum Mode {
    Random,
    Nth,
}

/// The probability 1.
const CERTAIN: f64 = 0x8000_0000_u32 as f64;

static MODE: Opt<Mode> = Opt::new(&["mode"], mode);
static PROBABILITY: Opt<u32> = Opt::new(&["probability"], probability).invertible();
static EVERY: Opt<u32> = Opt::new(&["every"], |value| count(value, 1)).invertible();
static PACKET: Opt<u32> = Opt::new(&["packet"], |value| count(value, 0));

impl Extension for Statistic {
    const NAME: &'static str = "statistic";
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&MODE.spec, &PROBABILITY.spec, &EVERY.spec, &PACKET.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&PROBABILITY.spec, &EVERY.spec])?;
        arguments.at_most_one(&[&PROBABILITY.spec, &PACKET.spec])?;
        match arguments.need(&MODE)?.value.value {
            Mode::Random => {
                let probability = arguments.need(&PROBABILITY)?;
                Ok(Self::Random { probability })
            }
            Mode::Nth => {
                let every = arguments.need(&EVERY)?;
                let packet = arguments.need(&PACKET)?.value;
                if packet.value >= every.value.value {
                    let message = format!("the cycle has no packet {}", packet.value);
                    return Err(Diagnostic::error(code::BAD_VALUE, packet.span, message)
                        .with_help("packets count from 0, so the last is one less than --every"));
                }
                Ok(Self::Nth {
                    every,
                    packet: packet.value,
                })
            }
        }
    }

    fn print(&self, line: &mut Line) {
        line.word("--mode");
        match self {
            Self::Random { probability } => {
                line.word("random");
                line.option(probability.negated, "--probability");
                let share = f64::from(probability.value.value) / CERTAIN;
                line.word(format_args!("{share:.11}"));
            }
            Self::Nth { every, packet } => {
                line.word("nth");
                line.option(every.negated, "--every");
                line.word(every.value.value);
                line.word("--packet");
                line.word(packet);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("statistic mode");
        match self {
            Self::Random { probability } => {
                let share = f64::from(probability.value.value) / CERTAIN;
                let negation = if probability.negated { " !" } else { "" };
                line.word(format_args!("random{negation} probability {share:.11}"));
            }
            Self::Nth { every, packet } => {
                let negation = if every.negated { " !" } else { "" };
                line.word(format_args!("nth{negation} every {}", every.value.value));
                if *packet != 0 {
                    line.word(format_args!("packet {packet}"));
                }
            }
        }
    }
}

fn mode(value: &Value<'_>) -> Result<Mode, Problem> {
    match value.word(0) {
        b"random" => Ok(Mode::Random),
        b"nth" => Ok(Mode::Nth),
        other => Err(Problem::new(format!("{:?} is no mode", BStr::new(other)))
            .usage(format!("Bad mode \"{}\"", BStr::new(other)))
            .with_help("the modes are random and nth")),
    }
}

fn probability(value: &Value<'_>) -> Result<u32, Problem> {
    let number: Option<f64> = value
        .word(0)
        .trim_start()
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok());
    match number {
        // In this range the product fits 32 bits.
        Some(share) if (0.0..=1.0).contains(&share) => Ok((share * CERTAIN).round() as u32),
        _ => Err(Problem::new("a probability is a number from 0 to 1")),
    }
}

fn count(value: &Value<'_>, least: u32) -> Result<u32, Problem> {
    integer(value.word(0), u32::MAX.into())
        .and_then(|count| u32::try_from(count).ok())
        .filter(|&count| count >= least)
        .ok_or_else(|| Problem::new(format!("write a number from {least} to {}", u32::MAX)))
}
