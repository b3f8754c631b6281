//! `-m limit`

use proptest::prelude::*;

use crate::matches::limit::Limit;

/// Rates of a number a second or a minute, for which bursts of this size never overflow.
pub(super) fn limit() -> impl Strategy<Value = Limit> {
    let average = prop_oneof![
        (1..=10_000_u32).prop_map(|n| 10_000 / n),
        (1..=59_u32).prop_map(|n| 600_000 / n)
    ];
    (average, 1..=100_u32).prop_map(|(average, burst)| Limit { average, burst })
}
