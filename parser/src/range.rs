//! Ranges of numbers, as many extensions have them.

use std::fmt;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Opt};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::span::Spanned;

/// An inclusive range of numbers, host byte order. `low > high` never matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Range<T> {
    /// First number.
    pub low: T,
    /// Last number.
    pub high: T,
}

/// An unsigned number of fixed width.
pub trait Number: Copy + Ord + fmt::Display + TryFrom<u64> + Into<u64> {
    /// The least.
    const MIN: Self;
    /// The greatest.
    const MAX: Self;
}

impl Number for u8 {
    const MIN: Self = u8::MIN;
    const MAX: Self = u8::MAX;
}

impl Number for u16 {
    const MIN: Self = u16::MIN;
    const MAX: Self = u16::MAX;
}

impl Number for u32 {
    const MIN: Self = u32::MIN;
    const MAX: Self = u32::MAX;
}

impl Number for u64 {
    const MIN: Self = u64::MIN;
    const MAX: Self = u64::MAX;
}

impl<T: Number> Range<T> {
    /// Every number.
    pub const EVERYTHING: Self = Self {
        low: T::MIN,
        high: T::MAX,
    };

    /// One number.
    pub fn of(number: T) -> Self {
        Self {
            low: number,
            high: number,
        }
    }

    /// Whether every number is in it.
    pub fn is_everything(self) -> bool {
        self == Self::EVERYTHING
    }
}

impl<T: fmt::Display + PartialEq> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}:{}", self.low, self.high)
        }
    }
}

/// The range of an option that save does not print when it is everything, with warnings for tests
/// that cannot be true.
pub(crate) fn read<T: Number>(
    arguments: &mut Arguments<'_>,
    option: &'static Opt<Range<T>>,
    default: Range<T>,
) -> Result<Negatable<Range<T>>, Diagnostic> {
    let Some(range) = arguments.get(option)? else {
        return Ok(Negatable {
            negated: false,
            value: Spanned {
                value: default,
                span: arguments.span,
            },
        });
    };
    let Range { low, high } = range.value.value;
    if range.negated && range.value.value.is_everything() {
        let message = format!("no number is outside {low}:{high}, so this rule never matches");
        arguments.warn(
            Diagnostic::warning(code::NEVER_MATCHES, range.value.span, message).with_help(
                "iptables-save prints such a test as nothing, and what it prints always matches",
            ),
        );
    }
    warn_backwards(arguments, &range, low > high);
    Ok(range)
}

/// A warning about a range whose first number is above its last.
pub(crate) fn warn_backwards<T>(
    arguments: &mut Arguments<'_>,
    range: &Negatable<T>,
    is_backwards: bool,
) {
    if is_backwards && !range.negated {
        let message = "nothing is in a range that runs backwards, so this rule never matches";
        arguments.warn(Diagnostic::warning(
            code::NEVER_MATCHES,
            range.value.span,
            message,
        ));
    }
}

/// Prints nothing for a range that is everything, not even for an inverted one.
pub(crate) fn print<T: Number>(line: &mut Line, option: &str, range: &Negatable<Range<T>>) {
    if !range.value.value.is_everything() {
        line.option(range.negated, option);
        line.word(range.value.value);
    }
}
