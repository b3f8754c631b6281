//! `struct xt_devgroup_info` (netfilter/xt_devgroup.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::Masked;
use crate::matches::devgroup::Devgroup;
use crate::ruleset::Negatable;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Devgroup0 {
    flags: U32,
    source: [U32; 2],
    destination: [U32; 2],
}

/// `XT_DEVGROUP_MATCH_SRC`
const SOURCE: u32 = 0x1;
/// `XT_DEVGROUP_INVERT_SRC`
const NOT_SOURCE: u32 = 0x2;
/// `XT_DEVGROUP_MATCH_DST`
const DESTINATION: u32 = 0x4;
/// `XT_DEVGROUP_INVERT_DST`
const NOT_DESTINATION: u32 = 0x8;

impl Wire for Devgroup0 {
    type Value = Devgroup;
    const NAME: &'static str = "devgroup";

    fn read(&self, _: &Context<'_>) -> Result<Option<Devgroup>, Refused> {
        let has = |flag| self.flags.get() & flag != 0;
        if self.flags.get() & !(SOURCE | NOT_SOURCE | DESTINATION | NOT_DESTINATION) != 0 {
            return Err(Refused("an unknown flag"));
        }
        let group = |[value, mask]: [U32; 2], bit, inversion| {
            let group = Masked {
                value: value.get(),
                mask: mask.get(),
            };
            has(bit).then(|| test(has(inversion), group))
        };
        Ok(Some(Devgroup {
            source: group(self.source, SOURCE, NOT_SOURCE),
            destination: group(self.destination, DESTINATION, NOT_DESTINATION),
        }))
    }

    fn write(value: &Devgroup, _: &Context<'_>) -> Option<Self> {
        let group = |group: &Option<Negatable<Masked>>| match group {
            None => [0.into(); 2],
            Some(group) => [
                group.value.value.value.into(),
                group.value.value.mask.into(),
            ],
        };
        Some(Self {
            flags: (flag(value.source.is_some(), SOURCE)
                | inversion(&value.source, NOT_SOURCE)
                | flag(value.destination.is_some(), DESTINATION)
                | inversion(&value.destination, NOT_DESTINATION))
            .into(),
            source: group(&value.source),
            destination: group(&value.destination),
        })
    }
}
