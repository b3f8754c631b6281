//! `struct xt_connlabel_mtinfo` (netfilter/xt_connlabel.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::matches::connlabel::Connlabel;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Connlabel0 {
    label: U16,
    flags: U16,
}

/// `XT_CONNLABEL_OP_INVERT`
const INVERTED: u16 = 1 << 0;
/// `XT_CONNLABEL_OP_SET`
const SET: u16 = 1 << 1;
/// `XT_CONNLABEL_MAXBIT`
const LAST: u8 = 127;

impl Wire for Connlabel0 {
    type Value = Connlabel;
    const NAME: &'static str = "connlabel";

    fn read(&self, _: &Context<'_>) -> Result<Option<Connlabel>, Refused> {
        if self.flags.get() & !(INVERTED | SET) != 0 {
            return Err(Refused("an unknown flag"));
        }
        let label = u8::try_from(self.label.get()).ok();
        Ok(label.filter(|&label| label <= LAST).map(|label| Connlabel {
            label: test(self.flags.get() & INVERTED != 0, label),
            set: self.flags.get() & SET != 0,
        }))
    }

    fn write(value: &Connlabel, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            label: u16::from(value.label.value.value).into(),
            flags: (flag(value.label.negated, INVERTED) | flag(value.set, SET)).into(),
        })
    }
}
