//! `-m connbytes`: how much a connection has carried (libxt_connbytes, xt_connbytes.c).

use bstr::BStr;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::Listing;
use crate::print::Line;
use crate::range::Range;
use crate::ruleset::Negatable;
use crate::value::range;

/// The `connbytes` match. A packet without a connection never matches, inverted or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connbytes {
    /// `--connbytes`. A range of one number is never inverted: the kernel stores the inversion as
    /// `low > high`, which then changes nothing.
    pub amount: Negatable<Amount>,
    /// `--connbytes-mode`
    pub mode: Mode,
    /// `--connbytes-dir`
    pub direction: Direction,
}

/// An inclusive range, `low <= high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Amount {
    /// The least.
    pub low: u64,
    /// The greatest; `u64::MAX` when there is no end.
    pub high: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Packets.
    Packets,
    /// Bytes from the IP header on.
    Bytes,
    /// `avgpkt`: bytes a packet on average.
    Average,
}

/// Which packets of the connection count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Those of the side that opened it.
    Original,
    /// Those of the other side.
    Reply,
    /// All.
    Both,
}

const MODES: [(&str, Mode); 3] = [
    ("packets", Mode::Packets),
    ("bytes", Mode::Bytes),
    ("avgpkt", Mode::Average),
];
const DIRECTIONS: [(&str, Direction); 3] = [
    ("original", Direction::Original),
    ("reply", Direction::Reply),
    ("both", Direction::Both),
];

static AMOUNT: Opt<Amount> = Opt::new(&["connbytes"], |value| amount(value.word(0))).invertible();
static MODE: Opt<Mode> = Opt::new(&["connbytes-mode"], |value| {
    one_of(&MODES, value.word(0), "mode")
});
static DIRECTION: Opt<Direction> = Opt::new(&["connbytes-dir"], |value| {
    one_of(&DIRECTIONS, value.word(0), "direction")
});

impl Extension for Connbytes {
    const NAME: &'static str = "connbytes";
    const OPTIONS: &'static [&'static OptionSpec] = &[&AMOUNT.spec, &MODE.spec, &DIRECTION.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let mut amount = arguments.need(&AMOUNT)?;
        let Amount { low, high } = amount.value.value;
        if amount.negated && low == high {
            amount.negated = false;
            let message = "a range of one number is not inverted, though ! stands before it";
            arguments.warn(
                Diagnostic::warning(code::BAD_NEGATION, amount.value.span, message)
                    .with_help("iptables drops this !; use two rules, for less and for more"),
            );
        }
        if high == 0 {
            let message = "iptables-save prints this as 0, which means 0 and more";
            arguments.warn(Diagnostic::warning(
                code::NEVER_MATCHES,
                amount.value.span,
                message,
            ));
        }
        Ok(Self {
            amount,
            mode: arguments.need(&MODE)?.value.value,
            direction: arguments.need(&DIRECTION)?.value.value,
        })
    }

    fn print(&self, line: &mut Line) {
        let Amount { low, high } = self.amount.value.value;
        line.option(self.amount.negated, "--connbytes");
        match high {
            // The tool takes 0 for no end.
            0 | u64::MAX => line.word(low),
            _ => line.word(format!("{low}:{high}")),
        }
        line.word("--connbytes-mode");
        line.word(name_of(&MODES, self.mode));
        line.word("--connbytes-dir");
        line.word(name_of(&DIRECTIONS, self.direction));
    }

    fn list(&self, line: &mut Listing<'_>) {
        let Amount { low, high } = self.amount.value.value;
        line.word(if self.amount.negated {
            "! connbytes"
        } else {
            "connbytes"
        });
        match high {
            0 | u64::MAX => line.word(low),
            _ => line.word(format_args!("{low}:{high}")),
        }
        let mode = name_of(&MODES, self.mode);
        let direction = name_of(&DIRECTIONS, self.direction);
        line.word(format_args!(
            "connbytes mode {mode} connbytes direction {direction}"
        ));
    }
}

/// `low[:high]`; without an end there is none.
fn amount(word: &[u8]) -> Result<Amount, Problem> {
    let Range { low, high } = range::<u64>(word)?;
    let high = if word.contains(&b':') { high } else { u64::MAX };
    if high < low {
        return Err(
            Problem::new(format!("the range {low}:{high} runs backwards"))
                .with_help(format!("write {high}:{low}")),
        );
    }
    Ok(Amount { low, high })
}

fn one_of<T: Copy>(table: &[(&str, T)], word: &[u8], what: &str) -> Result<T, Problem> {
    let found = table.iter().find(|row| row.0.as_bytes() == word);
    found.map(|row| row.1).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|row| row.0).collect();
        Problem::new(format!("{:?} is no {what}", BStr::new(word)))
            .with_help(format!("write one of {}", names.join(", ")))
    })
}

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    let found = table.iter().find(|row| row.1 == value);
    found.map(|row| row.0).unwrap_or_default()
}
