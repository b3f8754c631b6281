//! `struct xt_tos_match_info` (netfilter/xt_dscp.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::tos::Tos;
use crate::tos::TosMask;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Tos1 {
    mask: u8,
    value: u8,
    inverted: u8,
}

impl Wire for Tos1 {
    type Value = Tos;
    const NAME: &'static str = "tos";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Tos>, Refused> {
        let tos = TosMask {
            value: self.value,
            mask: self.mask,
        };
        Ok(Some(Tos {
            tos: test(self.inverted != 0, tos),
        }))
    }

    fn write(value: &Tos, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            mask: value.tos.value.value.mask,
            value: value.tos.value.value.value,
            inverted: value.tos.negated.into(),
        })
    }
}
