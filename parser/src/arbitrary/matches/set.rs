//! `-m set`

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::values::negatable;
use crate::matches::set::{Lookup, Set};
use crate::matches::{Comparison, set};

pub(super) fn set() -> impl Strategy<Value = Set> {
    let sides = vec(
        select(vec![set::Side::Source, set::Side::Destination]),
        1..=6,
    );
    let lookup = ("[A-Za-z0-9_.:-]{1,31}", sides).prop_map(|(name, sides)| Lookup { name, sides });
    let counter = || {
        let test = (select(vec![0, 1, 2, 3]), any::<u64>());
        let test = test.prop_map(|(kind, count)| match kind {
            0 => Comparison::Equal(count),
            1 => Comparison::Unequal(count),
            2 => Comparison::Less(count),
            _ => Comparison::Greater(count),
        });
        weighted(0.2, test)
    };
    (negatable(lookup), any::<[bool; 3]>(), counter(), counter()).prop_map(
        |(lookup, switches, packets, bytes)| {
            let [return_nomatch, update_counters, update_subcounters] = switches;
            Set {
                lookup,
                return_nomatch,
                update_counters,
                update_subcounters,
                packets,
                bytes,
            }
        },
    )
}
