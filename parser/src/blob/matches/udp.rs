//! `struct xt_udp` (netfilter/xt_tcpudp.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{read_ports, write_ports};
use crate::blob::codec::{Context, Refused, Wire, inversion};
use crate::matches::udp::Udp;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Udp0 {
    source_ports: [U16; 2],
    destination_ports: [U16; 2],
    inverted: u8,
    padding: u8,
}

/// `XT_UDP_INV_SRCPT`
const SOURCE: u8 = 0x01;
/// `XT_UDP_INV_DSTPT`
const DESTINATION: u8 = 0x02;

impl Wire for Udp0 {
    type Value = Udp;
    const NAME: &'static str = "udp";
    const PROTOCOLS: &'static [u8] = &[17];

    fn read(&self, _: &Context<'_>) -> Result<Option<Udp>, Refused> {
        if self.inverted & !(SOURCE | DESTINATION) != 0 {
            return Err(Refused("an unknown inversion"));
        }
        let is_inverted = |flag| self.inverted & flag != 0;
        Ok(Some(Udp {
            source_ports: read_ports(self.source_ports, is_inverted(SOURCE)),
            destination_ports: read_ports(self.destination_ports, is_inverted(DESTINATION)),
        }))
    }

    fn write(value: &Udp, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            source_ports: write_ports(&value.source_ports),
            destination_ports: write_ports(&value.destination_ports),
            inverted: inversion(&value.source_ports, SOURCE)
                | inversion(&value.destination_ports, DESTINATION),
            padding: 0,
        })
    }
}
