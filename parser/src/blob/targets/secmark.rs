//! `struct xt_secmark_target_info_v1` (netfilter/xt_SECMARK.h). The kernel's number of the context is
//! zero on the wire.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{until_nul, with_nul};
use crate::targets::secmark::Secmark;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Secmark1 {
    mode: u8,
    context: [u8; 256],
    padding: [u8; 3],
    kernel: [u8; 4],
}

/// `SECMARK_MODE_SEL`
const SELINUX: u8 = 0x01;

impl Wire for Secmark1 {
    type Value = Secmark;
    const NAME: &'static str = "SECMARK";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Secmark>, Refused> {
        if self.mode != SELINUX {
            return Err(Refused("an unknown mode"));
        }
        Ok(until_nul(&self.context).map(|context| Secmark {
            context: context.into(),
        }))
    }

    fn write(value: &Secmark, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            mode: SELINUX,
            context: with_nul(&value.context)?,
            padding: [0; 3],
            kernel: [0; 4],
        })
    }
}
