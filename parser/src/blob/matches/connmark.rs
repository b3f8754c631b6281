//! `struct xt_connmark_mtinfo1` (netfilter/xt_connmark.h), which looks like that of `mark`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::mark::Mark1;
use crate::blob::codec::{Context, Refused, Wire};
use crate::matches::connmark::Connmark;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Connmark1(Mark1);

impl Wire for Connmark1 {
    type Value = Connmark;
    const NAME: &'static str = "connmark";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Connmark>, Refused> {
        Ok(Some(Connmark {
            mark: self.0.read_test(),
        }))
    }

    fn write(value: &Connmark, _: &Context<'_>) -> Option<Self> {
        Some(Self(Mark1::write_test(&value.mark)))
    }
}
