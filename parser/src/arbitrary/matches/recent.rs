//! `-m recent`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::values::negatable;
use crate::matches::recent::{Check, Recent, Side as RecentSide};
use crate::ruleset::Family;

/// Seconds that the tool does not print with a sign.
pub(super) fn recent(family: Family) -> impl Strategy<Value = Recent> {
    let check = select(vec![
        Check::Set,
        Check::Rcheck,
        Check::Update,
        Check::Remove,
    ]);
    let mask = match family {
        Family::V4 => any::<Ipv4Addr>().prop_map(IpAddr::V4).boxed(),
        Family::V6 => any::<Ipv6Addr>().prop_map(IpAddr::V6).boxed(),
    };
    let side = select(vec![RecentSide::Source, RecentSide::Destination]);
    let tests = (
        of(1..=0x7fff_ffff_u32),
        any::<bool>(),
        of(1..=u16::MAX),
        any::<bool>(),
    );
    (negatable(check), tests, "[a-zA-Z0-9_]{1,20}", mask, side).prop_map(
        |(check, (seconds, reap, hit_count, ttl), name, mask, side)| {
            let has_tests = matches!(check.value.value, Check::Rcheck | Check::Update);
            Recent {
                check,
                seconds: seconds.filter(|_| has_tests),
                reap: reap && has_tests && seconds.is_some(),
                hit_count: hit_count.filter(|_| has_tests),
                ttl: ttl && has_tests,
                name: name.into(),
                mask,
                side,
            }
        },
    )
}
