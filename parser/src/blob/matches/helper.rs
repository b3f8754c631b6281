//! `struct xt_helper_info` (netfilter/xt_helper.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::blob::layout::{until_nul, with_nul};
use crate::matches::helper::Helper;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Helper0 {
    inverted: U32,
    name: [u8; 30],
    padding: [u8; 2],
}

impl Wire for Helper0 {
    type Value = Helper;
    const NAME: &'static str = "helper";

    fn read(&self, _: &Context<'_>) -> Result<Option<Helper>, Refused> {
        Ok(until_nul(&self.name).map(|name| Helper {
            name: test(self.inverted != 0, name.into()),
        }))
    }

    fn write(value: &Helper, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            inverted: u32::from(value.name.negated).into(),
            name: with_nul(&value.name.value.value)?,
            padding: [0; 2],
        })
    }
}
