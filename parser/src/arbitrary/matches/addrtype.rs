//! `-m addrtype`

use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::arbitrary::values::negatable;
use crate::matches::addrtype::{AddressType, Addrtype};
use crate::ruleset::Family;

pub(super) fn addrtype(family: Family) -> impl Strategy<Value = Addrtype> {
    let mut kinds = vec![
        AddressType::Unspec,
        AddressType::Unicast,
        AddressType::Local,
        AddressType::Anycast,
        AddressType::Multicast,
        AddressType::Unreachable,
    ];
    if family == Family::V4 {
        kinds.extend([AddressType::Broadcast, AddressType::Prohibit]);
        kinds.sort();
    }
    let count = kinds.len();
    let types = move || negatable(subsequence(kinds.clone(), 1..=count));
    (types(), of(types())).prop_map(|(destination, source)| Addrtype {
        source,
        destination: Some(destination),
        device: None,
    })
}
