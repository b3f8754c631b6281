//! `struct xt_nfacct_match_info_v1` (netfilter/xt_nfacct.h). The kernel's pointer is zero on the wire.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{until_nul, with_nul};
use crate::matches::nfacct::Nfacct;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Nfacct1 {
    name: [u8; 32],
    kernel: [u8; 8],
}

impl Wire for Nfacct1 {
    type Value = Nfacct;
    const NAME: &'static str = "nfacct";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Nfacct>, Refused> {
        let name = until_nul(&self.name).filter(|name| !name.is_empty());
        Ok(name.map(|name| Nfacct { name: name.into() }))
    }

    fn write(value: &Nfacct, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            name: with_nul(&value.name)?,
            kernel: [0; 8],
        })
    }
}
