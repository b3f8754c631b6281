//! `struct xt_mark_mtinfo1` (netfilter/xt_mark.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::Masked;
use crate::matches::mark::Mark;
use crate::ruleset::Negatable;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Mark1 {
    mark: U32,
    mask: U32,
    inverted: u8,
    padding: [u8; 3],
}

impl Mark1 {
    pub fn read_test(&self) -> Negatable<Masked> {
        let mark = Masked {
            value: self.mark.get(),
            mask: self.mask.get(),
        };
        test(self.inverted != 0, mark)
    }

    pub fn write_test(value: &Negatable<Masked>) -> Self {
        Self {
            mark: value.value.value.value.into(),
            mask: value.value.value.mask.into(),
            inverted: value.negated.into(),
            padding: [0; 3],
        }
    }
}

impl Wire for Mark1 {
    type Value = Mark;
    const NAME: &'static str = "mark";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Mark>, Refused> {
        Ok(Some(Mark(self.read_test())))
    }

    fn write(value: &Mark, _: &Context<'_>) -> Option<Self> {
        Some(Self::write_test(&value.0))
    }
}
