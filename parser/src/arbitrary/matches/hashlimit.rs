//! `-m hashlimit`

use proptest::option::of;
use proptest::prelude::*;

use crate::arbitrary::values::{bound, longest_prefix};
use crate::matches::hashlimit::{Hashlimit, Key, Rate};
use crate::ruleset::Family;

/// Limits of packets; rates of a number a second or a minute, for which bursts of this size never
/// overflow.
pub(super) fn hashlimit(family: Family) -> impl Strategy<Value = Hashlimit> {
    let average = prop_oneof![
        (1..=10_000_u64).prop_map(|n| 1_000_000 / n),
        (1..=59_u64).prop_map(|n| 60_000_000 / n)
    ];
    let rate = (average, 1..=100_u64).prop_map(|(average, burst)| Rate::Packets { average, burst });
    let key = any::<[bool; 4]>().prop_map(|bits| Key {
        source_address: bits[0],
        source_port: bits[1],
        destination_address: bits[2],
        destination_port: bits[3],
    });
    let length = || of(0..longest_prefix(family));
    (
        (bound(), rate, key, "[a-z][a-z0-9_.-]{0,30}"),
        (0..=1_048_576_u32, 0..=1_048_576_u32),
        (1..=u32::MAX, 1..=u32::MAX),
        (length(), length()),
    )
        .prop_map(
            |(
                (bound, rate, key, name),
                (size, max),
                (gc_interval, expire),
                (source_length, destination_length),
            )| Hashlimit {
                bound,
                rate,
                key,
                name: name.into(),
                size,
                max,
                gc_interval,
                expire,
                source_length,
                destination_length,
                interval: None,
            },
        )
}
