//! What the kernel knows of a packet besides its bytes.

use super::{CONTEXT, Demand, LOOPBACK_IFINDEX, Parser, skb, xdp};
use crate::asm::{Alu, Cond, Helper, Reg, Size};
use crate::field::{Field, link};
use crate::module::Hook;
use crate::packet::PACKET_LOOPBACK;
use ipt2bpf_parser::ruleset::Family;

/// Offsets in an Ethernet header.
const DESTINATION: i16 = 0;
const SOURCE: i16 = 6;

const PACKET_BROADCAST: i32 = 1;
const PACKET_MULTICAST: i32 = 2;

impl Parser<'_> {
    /// The fields that are no bytes of the packet, as far as rules ask for them and no structure of the
    /// kernel is needed.
    pub(super) fn metadata(&mut self, family: Family, demand: &Demand) {
        // At XDP nothing has set a mark yet.
        if demand.has(Field::Mark) && self.hook != Hook::Xdp {
            self.load(Size::W, Reg::R1, CONTEXT, skb::MARK);
            self.keep(Size::W, Field::Mark.place().offset, Reg::R1);
        }
        if demand.has(Field::Processor) {
            self.code.call(Helper::GetSmpProcessorId);
            self.keep(Size::W, Field::Processor.place().offset, Reg::R0);
        }
        if demand.has(Field::Interface) {
            let index = match self.hook {
                Hook::CgroupIngress | Hook::CgroupEgress => skb::IFINDEX,
                Hook::Xdp => xdp::INGRESS_IFINDEX,
            };
            self.load(Size::W, Reg::R1, CONTEXT, index);
            self.keep(Size::W, Field::Interface.place().offset, Reg::R1);
        }
        if demand.has(Field::PacketType) {
            self.code.line("whom the link layer says it is for");
            match self.hook {
                Hook::CgroupIngress | Hook::CgroupEgress => self.packet_type_from_kernel(family),
                Hook::Xdp => self.packet_type_from_frame(),
            }
        }
        if self.hook == Hook::Xdp && demand.link() {
            self.link_from_frame();
            if demand.has(Field::SourceIsEui64) {
                self.compare_eui64();
            }
        }
    }

    /// `pkttype_mt` (net/netfilter/xt_pkttype.c): a looped-back packet is multicast or broadcast.
    fn packet_type_from_kernel(&mut self, family: Family) {
        let known = self.code.label();
        self.load(Size::W, Reg::R1, CONTEXT, skb::PKT_TYPE);
        self.if_imm(Cond::Ne, Reg::R1, PACKET_LOOPBACK.into(), known);
        self.set(Reg::R1, PACKET_MULTICAST);
        if family == Family::V4 {
            let destination = Field::Destination4.place().offset;
            self.field(Size::B, Reg::R2, destination);
            self.alu(Alu::And, Reg::R2, 0xf0);
            self.if_imm(Cond::Eq, Reg::R2, 0xe0, known);
            self.set(Reg::R1, PACKET_BROADCAST);
        }
        self.code.bind(known);
        self.keep(Size::B, Field::PacketType.place().offset, Reg::R1);
    }

    /// All ones is broadcast, other groups are multicast; the kernel drops what is for other hosts.
    fn packet_type_from_frame(&mut self) {
        let (done, group) = (self.code.label(), self.code.label());
        self.load(Size::W, Reg::R2, CONTEXT, xdp::DATA);
        self.bytes_from(Reg::R2, 14, self.pass);
        self.load(Size::B, Reg::R1, Reg::R2, DESTINATION);
        self.alu(Alu::And, Reg::R1, 1);
        self.if_imm(Cond::Eq, Reg::R1, 0, done);
        self.store(Size::B, Field::PacketType.place().offset, PACKET_MULTICAST);
        for word in [0, 2, 4] {
            self.load(Size::H, Reg::R1, Reg::R2, DESTINATION + word);
            self.if_imm(Cond::Ne, Reg::R1, 0xffff, group);
        }
        self.store(Size::B, Field::PacketType.place().offset, PACKET_BROADCAST);
        self.code.bind(group);
        self.code.bind(done);
    }

    /// An Ethernet header is always there; the loopback interface is of another type.
    fn link_from_frame(&mut self) {
        self.code.line("the Ethernet header");
        let place = Field::Link.place().offset;
        let ethernet = self.code.label();
        self.store(Size::B, place, (link::MAC_HEADER | link::ETHERNET).into());
        self.load(Size::W, Reg::R1, CONTEXT, xdp::INGRESS_IFINDEX);
        self.if_imm(Cond::Ne, Reg::R1, LOOPBACK_IFINDEX, ethernet);
        self.store(Size::B, place, link::MAC_HEADER.into());
        self.code.bind(ethernet);
        self.load(Size::W, Reg::R2, CONTEXT, xdp::DATA);
        self.bytes_from(Reg::R2, 14, self.pass);
        for word in [0, 2, 4] {
            self.load(Size::H, Reg::R1, Reg::R2, SOURCE + word);
            self.keep(Size::H, Field::SourceMac.place().offset + word, Reg::R1);
        }
    }

    /// Compares the lower half of the source address with what the Ethernet address gives: its first byte
    /// with bit 1 turned round, and `ff:fe` in the middle.
    pub(super) fn compare_eui64(&mut self) {
        let (mac, half) = (
            Field::SourceMac.place().offset,
            Field::Source6.place().offset + 8,
        );
        let other = self.code.label();
        self.field(Size::H, Reg::R1, mac);
        self.alu(Alu::Xor, Reg::R1, 0x02);
        self.field(Size::H, Reg::R2, half);
        self.if_reg(Cond::Ne, Reg::R1, Reg::R2, other);
        for (offset, byte) in [(3, 0xff), (4, 0xfe)] {
            self.field(Size::B, Reg::R1, half + offset);
            self.if_imm(Cond::Ne, Reg::R1, byte, other);
        }
        for (size, from, to) in [(Size::B, 2, 2), (Size::B, 3, 5), (Size::H, 4, 6)] {
            self.field(size, Reg::R1, mac + from);
            self.field(size, Reg::R2, half + to);
            self.if_reg(Cond::Ne, Reg::R1, Reg::R2, other);
        }
        self.store(Size::B, Field::SourceIsEui64.place().offset, 1);
        self.code.bind(other);
    }
}
