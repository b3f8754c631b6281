//! `struct ipt_ttl_info` (netfilter_ipv4/ipt_ttl.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{read_comparison, write_comparison};
use crate::blob::codec::{Context, Refused, Wire};
use crate::matches::ttl::Ttl;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ttl0 {
    mode: u8,
    ttl: u8,
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
