//! `struct xt_tee_tginfo` (netfilter/xt_TEE.h). The kernel's pointer is zero on the wire.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{
    InetAddress, InterfaceName, read_address, until_nul, with_nul, write_address,
};
use crate::targets::tee::Tee;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Tee1 {
    gateway: InetAddress,
    interface: InterfaceName,
    kernel: [u8; 8],
}

impl Wire for Tee1 {
    type Value = Tee;
    const NAME: &'static str = "TEE";
    const REVISION: u8 = 1;

    fn read(&self, context: &Context<'_>) -> Result<Option<Tee>, Refused> {
        let interface = until_nul(&self.interface).ok_or(Refused("a name without an end"))?;
        if self.gateway == [0; 16] {
            return Err(Refused("no gateway"));
        }
        Ok(Some(Tee {
            gateway: read_address(context.family, &self.gateway),
            interface: interface.into(),
        }))
    }

    fn write(value: &Tee, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            gateway: write_address(value.gateway),
            interface: with_nul(&value.interface)?,
            kernel: [0; 8],
        })
    }
}
