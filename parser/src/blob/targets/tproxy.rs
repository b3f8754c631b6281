//! `struct xt_tproxy_target_info_v1` (netfilter/xt_TPROXY.h).

use zerocopy::big_endian::U16 as Port;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{InetAddress, read_address, write_address};
use crate::targets::mark_change::MarkChange;
use crate::targets::tproxy::Tproxy;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Tproxy1 {
    mask: U32,
    value: U32,
    address: InetAddress,
    port: Port,
    padding: [u8; 2],
}

impl Wire for Tproxy1 {
    type Value = Tproxy;
    const NAME: &'static str = "TPROXY";
    const REVISION: u8 = 1;
    const PROTOCOLS: &'static [u8] = &[6, 17];

    fn read(&self, context: &Context<'_>) -> Result<Option<Tproxy>, Refused> {
        Ok(Some(Tproxy {
            port: self.port.get(),
            address: read_address(context.family, &self.address),
            mark: MarkChange {
                value: self.value.get(),
                mask: self.mask.get(),
            },
        }))
    }

    fn write(value: &Tproxy, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            mask: value.mark.mask.into(),
            value: value.mark.value.into(),
            address: write_address(value.address),
            port: value.port.into(),
            padding: [0; 2],
        })
    }
}
