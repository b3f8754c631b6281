//! `-m iprange`

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::option::of;
use proptest::prelude::*;

use crate::arbitrary::values::negatable;
use crate::matches::iprange::{AddressRange, IpRange};
use crate::ruleset::Family;

pub(super) fn ip_range(family: Family) -> impl Strategy<Value = IpRange> {
    let range = || match family {
        Family::V4 => any::<[Ipv4Addr; 2]>()
            .prop_map(|[low, high]| AddressRange::V4 { low, high })
            .boxed(),
        Family::V6 => any::<[Ipv6Addr; 2]>()
            .prop_map(|[low, high]| AddressRange::V6 { low, high })
            .boxed(),
    };
    (of(negatable(range())), of(negatable(range()))).prop_filter_map(
        "one range at least",
        |(source, destination)| {
            (source.is_some() || destination.is_some()).then_some(IpRange {
                source,
                destination,
            })
        },
    )
}
