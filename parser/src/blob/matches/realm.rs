//! `struct xt_realm_info` (netfilter/xt_realm.h), which looks like that of `mark`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::mark::Mark1;
use crate::blob::codec::{Context, Refused, Wire};
use crate::matches::realm::Realm;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Realm0(Mark1);

impl Wire for Realm0 {
    type Value = Realm;
    const NAME: &'static str = "realm";

    fn read(&self, _: &Context<'_>) -> Result<Option<Realm>, Refused> {
        Ok(Some(Realm(self.0.read_test())))
    }

    fn write(value: &Realm, _: &Context<'_>) -> Option<Self> {
        Some(Self(Mark1::write_test(&value.0)))
    }
}
