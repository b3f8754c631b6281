//! `struct xt_rateinfo` (netfilter/xt_limit.h). The kernel's own fields are zero on the wire.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::matches::limit::Limit;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Limit0 {
    average: U32,
    burst: U32,
    kernel: [u8; 32],
}

impl Wire for Limit0 {
    type Value = Limit;
    const NAME: &'static str = "limit";

    fn read(&self, _: &Context<'_>) -> Result<Option<Limit>, Refused> {
        let limit = Limit {
            average: self.average.get(),
            burst: self.burst.get(),
        };
        if limit.is_refused() {
            return Err(Refused("no burst of tokens at this rate"));
        }
        Ok(Some(limit))
    }

    fn write(value: &Limit, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            average: value.average.into(),
            burst: value.burst.into(),
            kernel: [0; 32],
        })
    }
}
