//! Rates as `-m limit` and `-m hashlimit` write them (libxt_limit and libxt_hashlimit, `parse_rate`
//! and `print_rate`).

use crate::value::is_prefix_of;

/// A unit of time.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    /// The name that any leading part stands for.
    name: &'static str,
    /// The name that save prints.
    pub saved_as: &'static str,
    pub seconds: u32,
}

/// From the longest to the shortest.
const UNITS: [Unit; 4] = [
    Unit {
        name: "day",
        saved_as: "day",
        seconds: 24 * 60 * 60,
    },
    Unit {
        name: "hour",
        saved_as: "hour",
        seconds: 60 * 60,
    },
    Unit {
        name: "minute",
        saved_as: "min",
        seconds: 60,
    },
    SECOND,
];

/// The unit of a rate that names none.
pub(crate) const SECOND: Unit = Unit {
    name: "second",
    saved_as: "sec",
    seconds: 1,
};

/// The unit behind the `/` of a rate, by any leading part of its name.
pub(crate) fn unit(word: &[u8]) -> Option<Unit> {
    UNITS.into_iter().find(|unit| is_prefix_of(word, unit.name))
}

/// The number and the unit that save prints for a period: the shortest unit up to which none loses
/// more in the division than it shows. The period is in parts of a second, `scale` of them to one.
pub(crate) fn saved(period: u64, scale: u64) -> (u64, Unit) {
    let period = period.max(1);
    let length = |unit: &Unit| u64::from(unit.seconds) * scale;
    let [longest, shorter @ ..] = UNITS;
    let best = shorter
        .into_iter()
        .take_while(|unit| {
            let length = length(unit);
            period <= length && length / period >= length % period
        })
        .last()
        .unwrap_or(longest);
    (length(&best) / period, best)
}
