//! `struct xt_connsecmark_target_info` (netfilter/xt_CONNSECMARK.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::targets::connsecmark::Connsecmark;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Connsecmark0(u8);

/// `CONNSECMARK_SAVE`
const SAVE: u8 = 1;
/// `CONNSECMARK_RESTORE`
const RESTORE: u8 = 2;

impl Wire for Connsecmark0 {
    type Value = Connsecmark;
    const NAME: &'static str = "CONNSECMARK";

    fn read(&self, _: &Context<'_>) -> Result<Option<Connsecmark>, Refused> {
        match self.0 {
            SAVE => Ok(Some(Connsecmark::Save)),
            RESTORE => Ok(Some(Connsecmark::Restore)),
            _ => Err(Refused("an unknown mode")),
        }
    }

    fn write(value: &Connsecmark, _: &Context<'_>) -> Option<Self> {
        Some(Self(match value {
            Connsecmark::Save => SAVE,
            Connsecmark::Restore => RESTORE,
        }))
    }
}
