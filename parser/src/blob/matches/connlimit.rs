//! `struct xt_connlimit_info` (netfilter/xt_connlimit.h). The kernel's pointer is zero on the wire.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::blob::layout::{InetAddress, read_prefix, tidy_mask, write_prefix};
use crate::matches::Bound;
use crate::matches::connlimit::{By, Connlimit};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Connlimit1 {
    mask: InetAddress,
    limit: U32,
    flags: U32,
    kernel: [u8; 8],
}

/// `XT_CONNLIMIT_INVERT`
const UP_TO: u32 = 1 << 0;
/// `XT_CONNLIMIT_DADDR`
const DESTINATION: u32 = 1 << 1;

impl Wire for Connlimit1 {
    type Value = Connlimit;
    const NAME: &'static str = "connlimit";
    const REVISION: u8 = 1;

    fn read(&self, context: &Context<'_>) -> Result<Option<Connlimit>, Refused> {
        let has = |flag| self.flags.get() & flag != 0;
        let prefix_length = read_prefix(context.family, &self.mask);
        Ok(prefix_length.map(|prefix_length| Connlimit {
            bound: match has(UP_TO) {
                true => Bound::UpTo,
                false => Bound::Above,
            },
            limit: self.limit.get(),
            prefix_length,
            by: match has(DESTINATION) {
                true => By::Destination,
                false => By::Source,
            },
        }))
    }

    fn write(value: &Connlimit, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            mask: write_prefix(value.prefix_length),
            limit: value.limit.into(),
            flags: (flag(value.bound == Bound::UpTo, UP_TO)
                | flag(value.by == By::Destination, DESTINATION))
            .into(),
            kernel: [0; 8],
        })
    }

    fn tidied(mut self, context: &Context<'_>) -> Self {
        tidy_mask(context.family, &mut self.mask);
        self
    }
}
