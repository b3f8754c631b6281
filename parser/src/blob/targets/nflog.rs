//! `struct xt_nflog_info` (netfilter/xt_NFLOG.h).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::blob::layout::{until_nul, with_nul};
use crate::targets::nflog::Nflog;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Nflog0 {
    /// The size if the flag says so, else the range.
    length: U32,
    group: U16,
    threshold: U16,
    flags: U16,
    padding: [u8; 2],
    prefix: [u8; 64],
}

/// `XT_NFLOG_F_COPY_LEN`
const HAS_SIZE: u16 = 0x1;

impl Wire for Nflog0 {
    type Value = Nflog;
    const NAME: &'static str = "NFLOG";

    fn read(&self, _: &Context<'_>) -> Result<Option<Nflog>, Refused> {
        if self.flags.get() & !HAS_SIZE != 0 {
            return Err(Refused("an unknown flag"));
        }
        let prefix = until_nul(&self.prefix).ok_or(Refused("a prefix without an end"))?;
        let (size, range) = match self.flags.get() {
            HAS_SIZE => (Some(self.length.get()), 0),
            _ => (None, self.length.get()),
        };
        Ok(Some(Nflog {
            group: self.group.get(),
            prefix: prefix.into(),
            size,
            range,
            threshold: self.threshold.get(),
        }))
    }

    fn write(value: &Nflog, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            length: value.size.unwrap_or(value.range).into(),
            group: value.group.into(),
            threshold: value.threshold.into(),
            flags: flag(value.size.is_some(), HAS_SIZE).into(),
            padding: [0; 2],
            prefix: with_nul(&value.prefix)?,
        })
    }
}
