//! What every rule can test without an extension.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::option::weighted;
use proptest::prelude::*;

use crate::arbitrary::values::negatable;
use crate::ruleset::{BaseMatch, Family, InterfacePattern, Network, NfHook};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

pub(super) fn base(family: Family, hook: Option<NfHook>) -> impl Strategy<Value = BaseMatch> {
    let has_in = !matches!(hook, Some(NfHook::Output | NfHook::Postrouting));
    let has_out = !matches!(hook, Some(NfHook::Prerouting | NfHook::Input));
    let test = move |is_possible: bool| {
        weighted(0.3, negatable(interface())).prop_map(move |it| it.filter(|_| is_possible))
    };
    let fragment =
        weighted(0.1, negatable(Just(()))).prop_map(move |it| it.filter(|_| family == Family::V4));
    (
        weighted(0.4, negatable(network(family))),
        weighted(0.4, negatable(network(family))),
        test(has_in),
        test(has_out),
        weighted(0.7, negatable(protocol())),
        fragment,
    )
        .prop_map(
            |(source, destination, in_interface, out_interface, protocol, fragment)| BaseMatch {
                source,
                destination,
                in_interface,
                out_interface,
                protocol,
                fragment,
            },
        )
}

pub(super) fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(TCP), 3 => Just(UDP), 1 => Just(ICMP), 1 => Just(ICMP6), 1 => 1..=255_u8]
}

/// A network that has at least one bit of mask: most often a prefix, at times a mask with holes.
pub fn network(family: Family) -> BoxedStrategy<Network> {
    match family {
        Family::V4 => {
            let mask = prop_oneof![4 => (1..=32_u32).prop_map(|length| u32::MAX << (32 - length)), 1 => 1..=u32::MAX];
            (any::<u32>(), mask)
                .prop_map(|(address, mask)| Network::V4 {
                    address: Ipv4Addr::from_bits(address & mask),
                    mask: Ipv4Addr::from_bits(mask),
                })
                .boxed()
        }
        Family::V6 => {
            let mask = prop_oneof![4 => (1..=128_u32).prop_map(|length| u128::MAX << (128 - length)), 1 => 1..=u128::MAX];
            // Few bits set, so that runs of zero groups are common.
            let address = prop_oneof![
                any::<u128>(),
                (any::<u32>(), 0..97_u32).prop_map(|(bits, by)| u128::from(bits) << by)
            ];
            (address, mask)
                .prop_map(|(address, mask)| Network::V6 {
                    address: Ipv6Addr::from_bits(address & mask),
                    mask: Ipv6Addr::from_bits(mask),
                })
                .boxed()
        }
    }
}

pub(super) fn interface() -> impl Strategy<Value = InterfacePattern> {
    ("[a-z][a-z0-9.:_-]{0,13}", any::<bool>())
        .prop_map(|(name, prefix)| InterfacePattern { name, prefix })
}
