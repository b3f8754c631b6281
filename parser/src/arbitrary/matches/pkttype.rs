//! `-m pkttype`

use proptest::prelude::*;
use proptest::sample::select;

use crate::matches::pkttype::PacketType;

pub(super) fn packet_type() -> impl Strategy<Value = PacketType> {
    select(vec![
        PacketType::Unicast,
        PacketType::Broadcast,
        PacketType::Multicast,
        PacketType::OtherHost,
    ])
}
