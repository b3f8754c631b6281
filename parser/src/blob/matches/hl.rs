//! `struct ip6t_hl_info` (netfilter_ipv6/ip6t_hl.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{read_comparison, write_comparison};
use crate::blob::codec::{Context, Refused, Wire};
use crate::matches::hl::Hl;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Hl0 {
    mode: u8,
    hop_limit: u8,
}

impl Wire for Hl0 {
    type Value = Hl;
    const NAME: &'static str = "hl";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Hl>, Refused> {
        Ok(read_comparison(self.mode, self.hop_limit).map(Hl))
    }

    fn write(value: &Hl, _: &Context<'_>) -> Option<Self> {
        let (mode, hop_limit) = write_comparison(value.0);
        Some(Self { mode, hop_limit })
    }
}
