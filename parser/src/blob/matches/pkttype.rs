//! `struct xt_pkttype_info` (netfilter/xt_pkttype.h), with the types of linux/if_packet.h.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::pkttype::{PacketType, Pkttype};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Pkttype0 {
    kind: U32,
    inverted: U32,
}

/// The types by their number.
const TYPES: [PacketType; 4] = [
    PacketType::Unicast,
    PacketType::Broadcast,
    PacketType::Multicast,
    PacketType::OtherHost,
];

impl Wire for Pkttype0 {
    type Value = Pkttype;
    const NAME: &'static str = "pkttype";

    fn read(&self, _: &Context<'_>) -> Result<Option<Pkttype>, Refused> {
        let kind = (0..).zip(TYPES).find(|row| row.0 == self.kind.get());
        Ok(kind.map(|row| Pkttype(test(self.inverted != 0, row.1))))
    }

    fn write(value: &Pkttype, _: &Context<'_>) -> Option<Self> {
        let row = (0..).zip(TYPES).find(|row| row.1 == value.0.value.value)?;
        Some(Self {
            kind: U32::new(row.0),
            inverted: u32::from(value.0.negated).into(),
        })
    }
}
