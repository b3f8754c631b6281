//! Values that several extensions have.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::matches::{Bound, Masked, PortRange};
use crate::prefix::Prefix;
use crate::range::Range;
use crate::ruleset::{Family, Negatable};
use crate::span::{Span, Spanned};

pub(super) fn negatable<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Negatable<T>> {
    (proptest::bool::weighted(0.25), value).prop_map(|(negated, value)| Negatable {
        negated,
        value: spanned(value),
    })
}

pub(super) fn spanned<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: Span::default(),
    }
}

/// Any byte that a line of text can hold: a NUL or a newline ends it.
pub(super) fn text_byte() -> impl Strategy<Value = u8> {
    let printable = prop_oneof![8 => 0x20..0x7f_u8, 1 => any::<u8>()];
    printable.prop_filter("ends the line", |&byte| byte != 0 && byte != b'\n')
}

pub(super) fn masked() -> impl Strategy<Value = Masked> {
    let mask = prop_oneof![Just(u32::MAX), any::<u32>()];
    (any::<u32>(), mask).prop_map(|(value, mask)| Masked { value, mask })
}

pub(super) fn bound() -> impl Strategy<Value = Bound> {
    select(vec![Bound::UpTo, Bound::Above])
}

pub(super) fn longest_prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

pub(super) fn prefix(family: Family) -> BoxedStrategy<Prefix> {
    match family {
        Family::V4 => (any::<Ipv4Addr>(), 0..=32_u8)
            .prop_map(|(address, length)| Prefix {
                address: address.into(),
                length,
            })
            .boxed(),
        Family::V6 => (any::<Ipv6Addr>(), 0..=128_u8)
            .prop_map(|(address, length)| Prefix {
                address: address.into(),
                length,
            })
            .boxed(),
    }
}

pub(super) fn number_range() -> impl Strategy<Value = Range<u32>> {
    prop_oneof![
        any::<u32>().prop_map(|number| Range {
            low: number,
            high: number
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| Range {
            low: a.min(b),
            high: a.max(b)
        }),
    ]
}

pub(super) fn port_test() -> impl Strategy<Value = Option<Negatable<PortRange>>> {
    of(negatable(port_range().prop_filter(
        "a test for all ports is not printed",
        |range| !range.is_everything(),
    )))
}

pub(super) fn port_range() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        any::<u16>().prop_map(|port| PortRange {
            low: port,
            high: port
        }),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange {
            low: a.min(b),
            high: a.max(b)
        }),
    ]
}
