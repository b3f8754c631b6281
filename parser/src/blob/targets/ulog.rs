//! `struct ipt_ulog_info` (linux/netfilter_ipv4/ipt_ULOG.h of kernels before 3.17).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{until_nul, with_nul};
use crate::ruleset::Family;
use crate::targets::ulog::{THRESHOLD_LIMIT, Ulog};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ulog0 {
    /// A bit for each group, the first for group 1.
    groups: U32,
    padding: [u8; 4],
    copy_range: U64,
    threshold: U64,
    prefix: [u8; 32],
}

impl Wire for Ulog0 {
    type Value = Ulog;
    const NAME: &'static str = "ULOG";
    const FAMILY: Option<Family> = Some(Family::V4);

    fn read(&self, _: &Context<'_>) -> Result<Option<Ulog>, Refused> {
        let prefix = until_nul(&self.prefix).ok_or(Refused("a prefix without an end"))?;
        if self.threshold.get() > THRESHOLD_LIMIT {
            return Err(Refused("a threshold above 50"));
        }
        let is_written = self.groups.get().is_power_of_two() && self.threshold != 0;
        Ok(is_written.then(|| Ulog {
            group: self.groups.get().trailing_zeros() as u8 + 1,
            prefix: prefix.into(),
            copy_range: self.copy_range.get(),
            threshold: self.threshold.get(),
        }))
    }

    fn write(value: &Ulog, _: &Context<'_>) -> Option<Self> {
        let bit = u32::from(value.group).checked_sub(1)?;
        Some(Self {
            groups: 1_u32.checked_shl(bit)?.into(),
            padding: [0; 4],
            copy_range: value.copy_range.into(),
            threshold: value.threshold.into(),
            prefix: with_nul(&value.prefix)?,
        })
    }
}
