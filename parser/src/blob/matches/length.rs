//! `struct xt_length_info` (netfilter/xt_length.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::length::Length;
use crate::range::Range;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Length0 {
    low: U16,
    high: U16,
    inverted: u8,
    padding: u8,
}

impl Wire for Length0 {
    type Value = Length;
    const NAME: &'static str = "length";

    fn read(&self, _: &Context<'_>) -> Result<Option<Length>, Refused> {
        let range = Range {
            low: self.low.get(),
            high: self.high.get(),
        };
        Ok(Some(Length(test(self.inverted != 0, range))))
    }

    fn write(value: &Length, _: &Context<'_>) -> Option<Self> {
        let Range { low, high } = value.0.value.value;
        Some(Self {
            low: low.into(),
            high: high.into(),
            inverted: value.0.negated.into(),
            padding: 0,
        })
    }
}
