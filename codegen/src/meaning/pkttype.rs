//! `pkttype_mt` of net/netfilter/xt_pkttype.c.

use ipt2bpf_parser::matches::pkttype::{PacketType, Pkttype};

use super::{Context, MatchMeaning, Refusal, constant, require};
use crate::field::Field;
use crate::module::Hook;
use crate::semantic::{Step, Test};

impl MatchMeaning for Pkttype {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![require(&self.0, |&wanted| match context.hook {
            Hook::CgroupIngress | Hook::Xdp => Test::equal(Field::PacketType, number(wanted)),
            // What this host sends is for no type of receiver yet, whatever its destination.
            Hook::CgroupEgress => constant(wanted == PacketType::Unicast),
        })])
    }
}

/// `PACKET_*` of include/uapi/linux/if_packet.h.
fn number(packet_type: PacketType) -> u32 {
    match packet_type {
        PacketType::Unicast => 0,
        PacketType::Broadcast => 1,
        PacketType::Multicast => 2,
        PacketType::OtherHost => 3,
    }
}
