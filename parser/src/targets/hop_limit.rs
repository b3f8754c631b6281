//! The options with which `TTL` and `HL` change the hop limit.

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Opt, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::value::{number_of, ranged};

/// A change of the IPv4 time to live or the IPv6 hop limit. It never drops the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HopLimit {
    /// To this value.
    Set(u8),
    /// Up by this much, at least 1, to 255 at most.
    Increment(u8),
    /// Down by this much, at least 1, to 0 at least.
    Decrement(u8),
}

/// The options of a target for the three changes, in the order of [`HopLimit`].
pub(super) type Options = [&'static Opt<u8>; 3];

/// The value of a new limit.
pub(super) fn limit(value: &Value<'_>) -> Result<u8, Problem> {
    number_of(value.word(0))
}

/// The length of a step.
pub(super) fn step(value: &Value<'_>) -> Result<u8, Problem> {
    ranged(value.word(0), 1..=255)
}

impl HopLimit {
    /// The one change that is given.
    pub(super) fn read(arguments: &Arguments<'_>, options: Options) -> Result<Self, Diagnostic> {
        let [set, increment, decrement] = options;
        arguments.at_most_one(&options.map(|option| &option.spec))?;
        if let Some(given) = arguments.get(set)? {
            Ok(Self::Set(given.value.value))
        } else if let Some(given) = arguments.get(increment)? {
            Ok(Self::Increment(given.value.value))
        } else if let Some(given) = arguments.get(decrement)? {
            Ok(Self::Decrement(given.value.value))
        } else {
            let names = options.map(|option| format!("--{}", option.spec.name()));
            Err(arguments
                .error(code::MISSING_OPTION, "no change is given")
                .with_help(format!("add one of {}", names.join(", "))))
        }
    }

    pub(super) fn list(self, line: &mut Listing<'_>, name: &str) {
        let (doing, value) = match self {
            Self::Set(value) => ("set to", value),
            Self::Increment(value) => ("increment by", value),
            Self::Decrement(value) => ("decrement by", value),
        };
        line.word(format_args!("{name} {doing} {value}"));
    }

    pub(super) fn print(self, line: &mut Line, options: Options) {
        let (option, value) = match self {
            Self::Set(value) => (options[0], value),
            Self::Increment(value) => (options[1], value),
            Self::Decrement(value) => (options[2], value),
        };
        line.word(format!("--{} {value}", option.spec.name()));
    }
}
