//! `struct xt_rateest_target_info` (netfilter/xt_RATEEST.h). The kernel's pointer is zero on the wire.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{InterfaceName, until_nul, with_nul};
use crate::targets::rateest::Rateest;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Rateest0 {
    name: InterfaceName,
    interval: i8,
    ewma_log: u8,
    padding: [u8; 6],
    kernel: [u8; 8],
}

impl Wire for Rateest0 {
    type Value = Rateest;
    const NAME: &'static str = "RATEEST";

    fn read(&self, _: &Context<'_>) -> Result<Option<Rateest>, Refused> {
        let name = until_nul(&self.name).ok_or(Refused("a name without an end"))?;
        if !(-2..=3).contains(&self.interval) {
            return Err(Refused("an unknown interval"));
        }
        match self.ewma_log {
            0 | 31.. => Err(Refused("a weight that is out of range")),
            // No averaging time leads to this one.
            30 => Ok(None),
            ewma_log => Ok(Some(Rateest {
                name: name.into(),
                interval: self.interval,
                ewma_log,
            })),
        }
    }

    fn write(value: &Rateest, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            name: with_nul(&value.name)?,
            interval: value.interval,
            ewma_log: value.ewma_log,
            padding: [0; 6],
            kernel: [0; 8],
        })
    }
}
