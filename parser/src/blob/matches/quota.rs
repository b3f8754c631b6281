//! `struct xt_quota_info` (netfilter/xt_quota.h). The kernel's pointer is zero on the wire.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::matches::quota::Quota;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Quota0 {
    flags: U32,
    padding: [u8; 4],
    bytes: U64,
    kernel: [u8; 8],
}

/// `XT_QUOTA_INVERT`
const INVERTED: u32 = 0x01;

impl Wire for Quota0 {
    type Value = Quota;
    const NAME: &'static str = "quota";

    fn read(&self, _: &Context<'_>) -> Result<Option<Quota>, Refused> {
        if self.flags.get() & !INVERTED != 0 {
            return Err(Refused("an unknown flag"));
        }
        Ok(Some(Quota {
            bytes: test(self.flags != 0, self.bytes.get()),
        }))
    }

    fn write(value: &Quota, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            flags: flag(value.bytes.negated, INVERTED).into(),
            padding: [0; 4],
            bytes: value.bytes.value.value.into(),
            kernel: [0; 8],
        })
    }
}
