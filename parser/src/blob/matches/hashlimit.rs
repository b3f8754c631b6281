//! `struct xt_hashlimit_mtinfo3` (netfilter/xt_hashlimit.h). The kernel's pointer is zero on the wire.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::blob::layout::{until_nul, with_nul};
use crate::matches::Bound;
use crate::matches::hashlimit::{Hashlimit, Key, Rate};
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Hashlimit3 {
    name: [u8; 255],
    padding: u8,
    average: U64,
    burst: U64,
    mode: U32,
    size: U32,
    max: U32,
    gc_interval: U32,
    expire: U32,
    interval: U32,
    source_length: u8,
    destination_length: u8,
    kernel: [u8; 14],
}

/// `XT_HASHLIMIT_HASH_DIP`
const DESTINATION: u32 = 1 << 0;
/// `XT_HASHLIMIT_HASH_DPT`
const DESTINATION_PORT: u32 = 1 << 1;
/// `XT_HASHLIMIT_HASH_SIP`
const SOURCE: u32 = 1 << 2;
/// `XT_HASHLIMIT_HASH_SPT`
const SOURCE_PORT: u32 = 1 << 3;
/// `XT_HASHLIMIT_INVERT`
const ABOVE: u32 = 1 << 4;
/// `XT_HASHLIMIT_BYTES`
const BYTES: u32 = 1 << 5;
/// `XT_HASHLIMIT_RATE_MATCH`
const RATE_MATCH: u32 = 1 << 6;

fn longest(context: &Context<'_>) -> u8 {
    match context.family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

impl Wire for Hashlimit3 {
    type Value = Hashlimit;
    const NAME: &'static str = "hashlimit";
    const REVISION: u8 = 3;

    fn read(&self, context: &Context<'_>) -> Result<Option<Hashlimit>, Refused> {
        let has = |flag| self.mode.get() & flag != 0;
        if self.gc_interval == 0 || self.expire == 0 {
            return Err(Refused("a time of zero"));
        }
        if self.mode.get() >= RATE_MATCH << 1 {
            return Err(Refused("an unknown flag"));
        }
        let longest = longest(context);
        if self.source_length > longest || self.destination_length > longest {
            return Err(Refused("a mask that is too long"));
        }
        let name = until_nul(&self.name).ok_or(Refused("a name without an end"))?;
        let (average, burst) = (self.average.get(), self.burst.get());
        let rate = match has(BYTES) {
            false => Rate::Packets { average, burst },
            true => match (u32::try_from(average), u32::try_from(burst)) {
                (Ok(cost), Ok(burst)) => Rate::Bytes { cost, burst },
                _ => return Ok(None),
            },
        };
        let length = |length| (length != longest).then_some(length);
        Ok((!name.is_empty()).then(|| Hashlimit {
            bound: match has(ABOVE) {
                true => Bound::Above,
                false => Bound::UpTo,
            },
            rate,
            key: Key {
                source_address: has(SOURCE),
                source_port: has(SOURCE_PORT),
                destination_address: has(DESTINATION),
                destination_port: has(DESTINATION_PORT),
            },
            name: name.into(),
            size: self.size.get(),
            max: self.max.get(),
            gc_interval: self.gc_interval.get(),
            expire: self.expire.get(),
            source_length: length(self.source_length),
            destination_length: length(self.destination_length),
            interval: has(RATE_MATCH).then(|| self.interval.get()),
        }))
    }

    fn write(value: &Hashlimit, context: &Context<'_>) -> Option<Self> {
        let (is_bytes, average, burst) = match value.rate {
            Rate::Packets { average, burst } => (false, average, burst),
            Rate::Bytes { cost, burst } => (true, cost.into(), burst.into()),
        };
        let longest = longest(context);
        Some(Self {
            name: with_nul(&value.name)?,
            padding: 0,
            average: average.into(),
            burst: burst.into(),
            mode: (flag(value.key.source_address, SOURCE)
                | flag(value.key.source_port, SOURCE_PORT)
                | flag(value.key.destination_address, DESTINATION)
                | flag(value.key.destination_port, DESTINATION_PORT)
                | flag(value.bound == Bound::Above, ABOVE)
                | flag(is_bytes, BYTES)
                | flag(value.interval.is_some(), RATE_MATCH))
            .into(),
            size: value.size.into(),
            max: value.max.into(),
            gc_interval: value.gc_interval.into(),
            expire: value.expire.into(),
            interval: value.interval.unwrap_or_default().into(),
            source_length: value.source_length.unwrap_or(longest),
            destination_length: value.destination_length.unwrap_or(longest),
            kernel: [0; 14],
        })
    }
}
