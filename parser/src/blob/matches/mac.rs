//! `struct xt_mac_info` (netfilter/xt_mac.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::mac::{Mac, MacAddress};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Mac0 {
    address: [u8; 6],
    padding: [u8; 2],
    inverted: U32,
}

impl Wire for Mac0 {
    type Value = Mac;
    const NAME: &'static str = "mac";

    fn read(&self, _: &Context<'_>) -> Result<Option<Mac>, Refused> {
        Ok(Some(Mac {
            source: test(self.inverted != 0, MacAddress(self.address)),
        }))
    }

    fn write(value: &Mac, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            address: value.source.value.value.0,
            padding: [0; 2],
            inverted: u32::from(value.source.negated).into(),
        })
    }
}
