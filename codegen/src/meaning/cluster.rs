//! `xt_cluster_mt` of net/netfilter/xt_cluster.c: the nodes of a cluster get the same packets, and each takes
//! the connections that a hash of the address that began them gives it.

use std::fmt;

use ipt2bpf_parser::matches::cluster::Cluster;
use ipt2bpf_parser::ruleset::Family;

use super::conntrack::tuple::{OPENER, ends};
use super::conntrack::{has_connection, looked_up_once};
use super::{Context, MatchMeaning, Refusal, jhash};
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::Field;
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};
use crate::track::NO_CONNECTION;
use crate::track::code::ask;
use crate::track::resolve::resolve;

/// `PACKET_HOST` and `PACKET_MULTICAST` of include/uapi/linux/if_packet.h.
const UNICAST: u8 = 0;
const MULTICAST: u8 = 2;

impl MatchMeaning for Cluster {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if context.hook == Hook::Xdp {
            return Err(Refusal {
                code: "packet-type",
                reason: "gives packets to a multicast Ethernet address to this host, which programs cannot, so that \
                         TCP would not take them"
                    .into(),
                help: "keep this rule in iptables, or compile for cgroup_skb".into(),
            });
        }
        looked_up_once(context)?;
        let find = FindNode {
            total: self.total,
            seed: self.seed,
            nodes: self.nodes.value.value,
            arrives: context.hook == Hook::CgroupIngress,
        };
        Ok(vec![
            Step::Ask(find.into()),
            Step::require(has_connection()),
            Step::require(Test::equal(Field::Answer, 1).negated_if(self.nodes.negated)),
        ])
    }
}

/// Answers 1 when the packet's connection is for one of some nodes. A packet to a multicast Ethernet address is
/// for this host from then on, unless its own address is multicast, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FindNode {
    total: u32,
    seed: u32,
    /// A bit for each node.
    nodes: u32,
    /// Whether the packet comes from outside.
    arrives: bool,
}

impl FindNode {
    fn has(&self, word: u32) -> bool {
        let hash = jhash::hash([word, 0, 0], 1, self.seed);
        self.nodes >> jhash::scale(hash, self.total) & 1 != 0
    }
}

impl Perform for FindNode {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let is_multicast = match packet.family() {
            Family::V4 => packet.get(Field::Destination4) >> 28 == 0xe,
            Family::V6 => packet.get(Field::Destination6) >> 120 == 0xff,
        };
        if self.arrives && !is_multicast && packet.get(Field::PacketType) == u128::from(MULTICAST) {
            packet.set_packet_type(UNICAST);
        }
        let connection = packet.connection();
        if connection.state & NO_CONNECTION != 0 {
            return 0;
        }
        let [original, _] = resolve(packet, self.arrives).tuples(connection.direction);
        // The kernel takes the first word of IPv6 addresses only, and words as they lie in memory.
        let [a, b, c, d, ..] = original.source;
        self.has(u32::from_ne_bytes([a, b, c, d])).into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let (resolve, family) = (linker.resolve(), linker.family);
        let function = linker.function("cluster_node", 0, |body| {
            let [no, known] = [(); 2].map(|()| body.code.label());
            if self.arrives {
                let packet_type = Field::PacketType.place().offset;
                let (destination, bits, multicast) = match family {
                    Family::V4 => (Field::Destination4, 0xf0, 0xe0),
                    Family::V6 => (Field::Destination6, 0xff, 0xff),
                };
                let code = &mut body.code;
                code.load(Size::B, Reg::R1, PACKET, packet_type);
                code.branch(Cond::Ne, Reg::R1, i32::from(MULTICAST), known);
                code.load(Size::B, Reg::R1, PACKET, destination.place().offset);
                code.alu(Alu::And, Reg::R1, bits);
                code.branch(Cond::Eq, Reg::R1, multicast, known);
                code.store(Size::B, PACKET, packet_type, i32::from(UNICAST));
                code.bind(known);
            }
            ask::connected(body, no);
            ask::question(body, resolve);
            ends(body);
            let code = &mut body.code;
            let words = [Reg::R1, Reg::R2, Reg::R3];
            code.load(Size::W, words[0], OPENER, 0);
            code.mov(words[1], 0);
            code.mov(words[2], 0);
            jhash::emit(code, words, 1, self.seed);
            jhash::emit_scale(code, words[2], self.total);
            code.alu32(Alu::Mov, Reg::R0, self.nodes.cast_signed());
            code.alu32(Alu::Rsh, Reg::R0, words[2]);
            code.alu32(Alu::And, Reg::R0, 1);
            body.answer(Reg::R0);
            body.code.bind(no);
            body.answer(0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        let mut fields = vec![Field::CtState, Field::CtDirection];
        fields.extend(self.arrives.then_some(Field::PacketType));
        fields
    }
}

impl fmt::Display for FindNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "node of {} among {:#x}, seed {:#x}",
            self.total, self.nodes, self.seed
        )
    }
}
