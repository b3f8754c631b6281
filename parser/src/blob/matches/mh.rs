//! `struct ip6t_mh` (netfilter_ipv6/ip6t_mh.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::matches::mh::Mh;
use crate::range::Range;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Mh0 {
    low: u8,
    high: u8,
    inverted: u8,
}

/// `IP6T_MH_INV_TYPE`
const INVERTED: u8 = 0x01;

impl Wire for Mh0 {
    type Value = Mh;
    const NAME: &'static str = "mh";
    const FAMILY: Option<Family> = Some(Family::V6);
    const PROTOCOLS: &'static [u8] = &[135];

    fn read(&self, _: &Context<'_>) -> Result<Option<Mh>, Refused> {
        if self.inverted & !INVERTED != 0 {
            return Err(Refused("an unknown inversion"));
        }
        let range = Range {
            low: self.low,
            high: self.high,
        };
        Ok(Some(Mh {
            types: test(self.inverted != 0, range),
        }))
    }

    fn write(value: &Mh, _: &Context<'_>) -> Option<Self> {
        let Range { low, high } = value.types.value.value;
        Some(Self {
            low,
            high,
            inverted: flag(value.types.negated, INVERTED),
        })
    }
}
