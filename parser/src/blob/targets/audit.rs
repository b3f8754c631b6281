//! `struct xt_audit_info` (netfilter/xt_AUDIT.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::targets::audit::{Audit, Kind};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Audit0(u8);

/// The types by their number (`XT_AUDIT_TYPE_ACCEPT` and so on).
const KINDS: [Kind; 3] = [Kind::Accept, Kind::Drop, Kind::Reject];

impl Wire for Audit0 {
    type Value = Audit;
    const NAME: &'static str = "AUDIT";

    fn read(&self, _: &Context<'_>) -> Result<Option<Audit>, Refused> {
        let kind = KINDS.get(usize::from(self.0));
        let kind = *kind.ok_or(Refused("an unknown type"))?;
        Ok(Some(Audit { kind }))
    }

    fn write(value: &Audit, _: &Context<'_>) -> Option<Self> {
        let number = KINDS.iter().position(|&kind| kind == value.kind)?;
        u8::try_from(number).ok().map(Self)
    }
}
