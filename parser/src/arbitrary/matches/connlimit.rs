//! `-m connlimit`

use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::values::{bound, longest_prefix};
use crate::matches::connlimit::{By, Connlimit};
use crate::ruleset::Family;

pub(super) fn connlimit(family: Family) -> impl Strategy<Value = Connlimit> {
    let by = select(vec![By::Source, By::Destination]);
    (bound(), any::<u32>(), 0..=longest_prefix(family), by).prop_map(
        |(bound, limit, prefix_length, by)| Connlimit {
            bound,
            limit,
            prefix_length,
            by,
        },
    )
}
