//! `-m conntrack` and `-m state`

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::values::{negatable, number_range, port_test, prefix};
use crate::matches::conntrack::{Conntrack, Direction, States, Statuses, Tuple};
use crate::ruleset::Family;

pub(super) fn conntrack(family: Family) -> impl Strategy<Value = Conntrack> {
    let statuses =
        any::<[bool; 4]>().prop_map(|[expected, seen_reply, assured, confirmed]| Statuses {
            expected,
            seen_reply,
            assured,
            confirmed,
        });
    let tuple = || {
        let address = || of(negatable(prefix(family)));
        (address(), address(), port_test(), port_test()).prop_map(
            |(source, destination, source_ports, destination_ports)| {
                Box::new(Tuple {
                    source,
                    destination,
                    source_ports,
                    destination_ports,
                })
            },
        )
    };
    let direction = of(select(vec![Direction::Original, Direction::Reply]));
    (
        negatable(states(7)),
        weighted(0.2, negatable(any::<u8>())),
        tuple(),
        tuple(),
        weighted(0.2, negatable(statuses)),
        weighted(0.1, negatable(number_range())),
        direction,
    )
        .prop_map(
            |(states, protocol, original, reply, statuses, expiry, direction)| Conntrack {
                states: Some(states),
                protocol,
                original,
                reply,
                statuses,
                expiry,
                direction,
            },
        )
}

pub(super) fn states(count: usize) -> impl Strategy<Value = States> {
    vec(any::<bool>(), count).prop_filter_map("one state at least", |bits| {
        let bit = |at: usize| bits.get(at).copied().unwrap_or(false);
        bits.contains(&true).then(|| States {
            invalid: bit(0),
            new: bit(1),
            related: bit(2),
            established: bit(3),
            untracked: bit(4),
            snat: bit(5),
            dnat: bit(6),
        })
    })
}
