//! `struct xt_ipcomp` (netfilter/xt_ipcomp.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::matches::ipcomp::Ipcomp;
use crate::range::Range;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ipcomp0 {
    low: U32,
    high: U32,
    inverted: u8,
    reserved: u8,
    padding: [u8; 2],
}

/// `XT_IPCOMP_INV_SPI`
const INVERTED: u8 = 0x01;

impl Wire for Ipcomp0 {
    type Value = Ipcomp;
    const NAME: &'static str = "ipcomp";
    const PROTOCOLS: &'static [u8] = &[108];

    fn read(&self, _: &Context<'_>) -> Result<Option<Ipcomp>, Refused> {
        if self.inverted & !INVERTED != 0 {
            return Err(Refused("an unknown inversion"));
        }
        let range = Range {
            low: self.low.get(),
            high: self.high.get(),
        };
        Ok(Some(Ipcomp {
            spi: test(self.inverted != 0, range),
            reserved: self.reserved != 0,
        }))
    }

    fn write(value: &Ipcomp, _: &Context<'_>) -> Option<Self> {
        let Range { low, high } = value.spi.value.value;
        Some(Self {
            low: low.into(),
            high: high.into(),
            inverted: flag(value.spi.negated, INVERTED),
            reserved: value.reserved.into(),
            padding: [0; 2],
        })
    }
}
