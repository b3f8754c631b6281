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

/// `IPT_TTL_EQ`
const EQUAL: u8 = 0;
/// `IPT_TTL_NE`
const UNEQUAL: u8 = 1;
/// `IPT_TTL_LT`
const LESS: u8 = 2;
/// `IPT_TTL_GT`
const GREATER: u8 = 3;

impl Wire for Ttl0 {
    type Value = Ttl;
    const NAME: &'static str = "ttl";
    const FAMILY: Option<Family> = Some(Family::V4);

    fn read(&self, _: &Context<'_>) -> Result<Option<Ttl>, Refused> {
        let comparison = match self.mode {
            EQUAL => Comparison::Equal(self.ttl),
            UNEQUAL => Comparison::Unequal(self.ttl),
            LESS => Comparison::Less(self.ttl),
            GREATER => Comparison::Greater(self.ttl),
            _ => return Ok(None),
        };
        Ok(Some(Ttl(comparison)))
    }

    fn write(value: &Ttl, _: &Context<'_>) -> Option<Self> {
        let (mode, ttl) = match value.0 {
            Comparison::Equal(ttl) => (EQUAL, ttl),
            Comparison::Unequal(ttl) => (UNEQUAL, ttl),
            Comparison::Less(ttl) => (LESS, ttl),
            Comparison::Greater(ttl) => (GREATER, ttl),
        };
        Some(Self { mode, ttl })
    }
}
