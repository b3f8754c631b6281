//! `struct ipt_ttl_info` (netfilter_ipv4/ipt_ttl.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::matches::Comparison;
use crate::matches::ttl::Ttl;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ttl0 {
    mode: u8,
    ttl: u8,
}

/// The comparison of `IPT_TTL_EQ` and so on, which have the numbers of `IP6T_HL_EQ` and so on.
pub(super) fn read_comparison(mode: u8, number: u8) -> Option<Comparison<u8>> {
    Some(match mode {
        0 => Comparison::Equal(number),
        1 => Comparison::Unequal(number),
        2 => Comparison::Less(number),
        3 => Comparison::Greater(number),
        _ => return None,
    })
}

/// The mode and number of a comparison.
pub(super) fn write_comparison(comparison: Comparison<u8>) -> (u8, u8) {
    match comparison {
        Comparison::Equal(number) => (0, number),
        Comparison::Unequal(number) => (1, number),
        Comparison::Less(number) => (2, number),
        Comparison::Greater(number) => (3, number),
    }
}

impl Wire for Ttl0 {
    type Value = Ttl;
    const NAME: &'static str = "ttl";
    const FAMILY: Option<Family> = Some(Family::V4);

    fn read(&self, _: &Context<'_>) -> Result<Option<Ttl>, Refused> {
        Ok(read_comparison(self.mode, self.ttl).map(Ttl))
    }

    fn write(value: &Ttl, _: &Context<'_>) -> Option<Self> {
        let (mode, ttl) = write_comparison(value.0);
        Some(Self { mode, ttl })
    }
}
