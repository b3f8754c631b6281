//! The match `eui64`, whose data is an int without a meaning (ip6t_eui64.c).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::matches::eui64::Eui64;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Eui640([u8; 4]);

impl Wire for Eui640 {
    type Value = Eui64;
    const NAME: &'static str = "eui64";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Eui64>, Refused> {
        Ok(Some(Eui64))
    }

    fn write(_: &Eui64, _: &Context<'_>) -> Option<Self> {
        Some(Self([0; 4]))
    }
}
