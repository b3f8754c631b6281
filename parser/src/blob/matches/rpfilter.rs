//! `struct xt_rpfilter_info` (netfilter/xt_rpfilter.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::matches::rpfilter::Rpfilter;
use crate::ruleset::TableKind;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Rpfilter0(u8);

/// `XT_RPFILTER_LOOSE`
const LOOSE: u8 = 1 << 0;
/// `XT_RPFILTER_VALID_MARK`
const VALID_MARK: u8 = 1 << 1;
/// `XT_RPFILTER_ACCEPT_LOCAL`
const ACCEPT_LOCAL: u8 = 1 << 2;
/// `XT_RPFILTER_INVERT`
const INVERT: u8 = 1 << 3;

impl Wire for Rpfilter0 {
    type Value = Rpfilter;
    const NAME: &'static str = "rpfilter";
    const TABLES: &'static [TableKind] = &[TableKind::Raw, TableKind::Mangle];

    fn read(&self, _: &Context<'_>) -> Result<Option<Rpfilter>, Refused> {
        if self.0 & !(LOOSE | VALID_MARK | ACCEPT_LOCAL | INVERT) != 0 {
            return Err(Refused("an unknown flag"));
        }
        let has = |flag| self.0 & flag != 0;
        Ok(Some(Rpfilter {
            loose: has(LOOSE),
            valid_mark: has(VALID_MARK),
            accept_local: has(ACCEPT_LOCAL),
            invert: has(INVERT),
        }))
    }

    fn write(value: &Rpfilter, _: &Context<'_>) -> Option<Self> {
        Some(Self(
            flag(value.loose, LOOSE)
                | flag(value.valid_mark, VALID_MARK)
                | flag(value.accept_local, ACCEPT_LOCAL)
                | flag(value.invert, INVERT),
        ))
    }
}
