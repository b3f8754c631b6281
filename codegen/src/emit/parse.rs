//! Before the first rule: from the hook's context to the `struct packet` on the program's stack.
//!
//! Registers: R6 the context; R7, at XDP, the start of the IP header in the frame; R9 an offset from that.
//! R8 is free. All bytes of the packet are first copied to the scratch area, by a helper at cgroup hooks
//! (where the linear part may be short) and by checked loads at XDP.

use super::frame::Frame;
use crate::asm::{
    Alu, Code, Cond, Extern, Helper, Imm64, KernelField, KfuncId, Label, MapId, Op, Operand, Reg,
    Size, Width,
};
use crate::field::{Field, layout};
use crate::frame::MAX_VLAN_TAGS;
use crate::module::Hook;
use crate::options::{DeviceAccess, DeviceNames};
use crate::packet::MAX_EXTENSION_HEADERS;
use crate::semantic::{FamilyFilter, Test};
use ipt2bpf_parser::ruleset::Family;

/// The context, all through a program.
pub const CONTEXT: Reg = Reg::R6;
/// The IP header in an XDP frame.
const BASE: Reg = Reg::R7;
/// The loop variable of walks.
const STEP: Reg = Reg::R8;
/// The numbers of all VLAN tags, put together; until the packet is read.
const TAGS: Reg = Reg::R8;
/// An offset from the IP header.
const AT: Reg = Reg::R9;

/// Offsets in `struct __sk_buff` (include/uapi/linux/bpf.h).
pub mod skb {
    #![allow(missing_docs)]
    pub const LEN: i16 = 0;
    pub const PROTOCOL: i16 = 16;
    pub const IFINDEX: i16 = 40;
}

/// Offsets in `struct xdp_md` (include/uapi/linux/bpf.h).
pub mod xdp {
    #![allow(missing_docs)]
    pub const DATA: i16 = 0;
    pub const DATA_END: i16 = 4;
    pub const INGRESS_IFINDEX: i16 = 12;
}

/// Ethertypes as a little-endian load reads them from the frame.
pub const ETHERTYPE_IPV4: i32 = 0x0008;
/// See [`ETHERTYPE_IPV4`].
pub const ETHERTYPE_IPV6: i32 = 0xdd86;

/// The bits of a tag that are the VLAN's number; 0 is none (IEEE 802.1Q).
const VLAN_ID: i32 = 0x0fff;
/// The number of the loopback interface in every network namespace (include/linux/netdevice.h).
const LOOPBACK_IFINDEX: i32 = 1;

/// Which fields the rules of a family ask for beyond addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The IPv6 extension header walk, or what lies behind it.
    pub walk: bool,
    /// Fields of the transport header.
    pub transport: bool,
    /// TCP options.
    pub tcp_options: bool,
    /// The receiving interface.
    pub in_device: bool,
    /// The sending interface.
    pub out_device: bool,
}

impl Demand {
    /// What a filter's tests look at.
    pub fn of(filter: &FamilyFilter) -> Self {
        let mut demand = Demand::default();
        filter.leaves(&mut |leaf| match leaf {
            Test::TcpOption(_) => demand.tcp_options = true,
            Test::Masked { field, .. } | Test::Range { field, .. } => match field {
                Field::InDevice => demand.in_device = true,
                Field::OutDevice => demand.out_device = true,
                Field::TcpOptionsWhole => demand.tcp_options = true,
                Field::Protocol | Field::BrokenHeaders | Field::FragmentOffset => {
                    demand.walk = true
                }
                field if field.is_transport() => demand.transport = true,
                Field::TransportLength => demand.walk = true,
                _ => {}
            },
            Test::Not(_) | Test::All(_) | Test::Any(_) => {}
        });
        demand.transport |= demand.tcp_options;
        demand.walk |= demand.transport;
        demand
    }
}

/// Writes the reading of packets into a program.
pub struct Parser<'a> {
    /// The program.
    pub code: &'a mut Code,
    /// Its hook.
    pub hook: Hook,
    /// Its stack.
    pub frame: Frame,
    /// Where a packet is dropped that cannot be read.
    pub drop: Label,
    /// Where a packet is left to the kernel, uncounted.
    pub pass: Label,
}

impl Parser<'_> {
    /// Leaves the ethertype in R1 and, at XDP, the start of the IP header in R7 and whether the frame has a
    /// VLAN's number in R8.
    pub fn ethertype(&mut self) {
        self.code.line("which family");
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                self.load(Size::W, Reg::R1, CONTEXT, skb::PROTOCOL)
            }
            Hook::Xdp => {
                self.load(Size::W, BASE, CONTEXT, xdp::DATA);
                self.bytes_from(BASE, 14, self.pass);
                self.load(Size::H, Reg::R1, BASE, 12);
                self.set(AT, 14);
                self.set(TAGS, 0);
                let untagged = self.code.label();
                for tag in 0..MAX_VLAN_TAGS as i16 {
                    let tagged = self.code.label();
                    self.if_imm(Cond::Eq, Reg::R1, 0x0081, tagged);
                    self.if_imm(Cond::Ne, Reg::R1, 0xa888, untagged);
                    self.code.bind(tagged);
                    let header = 14 + 4 * tag;
                    self.bytes_from(BASE, header + 4, self.pass);
                    self.load(Size::H, Reg::R2, BASE, header);
                    self.alu(Alu::Or, TAGS, Reg::R2);
                    self.load(Size::H, Reg::R1, BASE, header + 2);
                    self.set(AT, i32::from(header) + 4);
                }
                self.code.bind(untagged);
                self.code.to_big_endian(TAGS, 16);
                self.alu(Alu::And, TAGS, VLAN_ID);
                self.forget(TAGS);
                self.forget(AT);
                self.alu(Alu::And, AT, 0x3f);
                self.alu(Alu::Add, BASE, AT);
            }
        }
    }

    /// Drops a frame with a VLAN's number: netfilter would see it on the VLAN's own interface, whose name is
    /// not known here.
    pub fn no_vlan(&mut self) {
        self.if_imm(Cond::Ne, TAGS, 0, self.drop);
    }

    /// Fills the struct for a packet of a family.
    pub fn packet(&mut self, family: Family, demand: Demand) {
        self.code.line("read the packet");
        for offset in (0..self.frame.packet_size()).step_by(8) {
            self.store(Size::D, offset, 0);
        }
        if self.hook != Hook::Xdp {
            self.load(Size::W, Reg::R1, CONTEXT, skb::LEN);
            self.keep(Size::W, layout::LENGTH, Reg::R1);
        }
        self.set(AT, 0);
        match family {
            Family::V4 => self.header4(),
            Family::V6 => self.header6(),
        }
        if demand.walk && family == Family::V6 {
            self.walk();
        }
        if demand.walk {
            self.transport(demand);
        }
    }

    fn header4(&mut self) {
        self.fetch(20, self.pass);
        if self.hook == Hook::Xdp {
            self.check4();
        }
        self.copy(Size::W, Field::Source4.place().offset, 12);
        self.copy(Size::W, Field::Destination4.place().offset, 16);
        self.copy(Size::B, Field::Protocol.place().offset, 9);
        self.copy(Size::B, layout::TOS, 1);
        self.scratch_be16(Reg::R1, 6);
        self.alu(Alu::And, Reg::R1, 0x1fff);
        self.keep(Size::H, Field::FragmentOffset.place().offset, Reg::R1);
        self.scratch(Size::B, AT, 0);
        self.alu(Alu::And, AT, 15);
        self.alu(Alu::Lsh, AT, 2);
    }

    /// What `ip_rcv` checks; leaves the packet's length in the struct.
    fn check4(&mut self) {
        let pass = self.pass;
        self.scratch(Size::B, Reg::R2, 0);
        self.mov(Reg::R1, Reg::R2);
        self.alu(Alu::Rsh, Reg::R1, 4);
        self.if_imm(Cond::Ne, Reg::R1, 4, pass);
        self.alu(Alu::And, Reg::R2, 15);
        self.if_imm(Cond::Lt, Reg::R2, 5, pass);
        self.scratch_be16(Reg::R4, 2);
        self.mov(Reg::R1, Reg::R2);
        self.alu(Alu::Lsh, Reg::R1, 2);
        self.if_reg(Cond::Lt, Reg::R4, Reg::R1, pass);
        self.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
        self.mov(Reg::R1, Reg::R3);
        self.alu(Alu::Sub, Reg::R1, BASE);
        self.if_reg(Cond::Gt, Reg::R4, Reg::R1, pass);
        self.keep(Size::W, layout::LENGTH, Reg::R4);
        // The checksum (RFC 1071): 32-bit words may be summed, and three folds bring fifteen of them
        // down to 16 bits.
        self.set(Reg::R0, 0);
        for offset in (0..20).step_by(4) {
            self.scratch(Size::W, Reg::R1, offset);
            self.alu(Alu::Add, Reg::R0, Reg::R1);
        }
        let summed = self.code.label();
        for words in 5..15 {
            self.if_imm(Cond::Le, Reg::R2, words, summed);
            self.mov(Reg::R1, BASE);
            self.alu(Alu::Add, Reg::R1, 4 * (words + 1));
            self.if_reg(Cond::Gt, Reg::R1, Reg::R3, pass);
            self.load(Size::W, Reg::R1, BASE, 4 * words as i16);
            self.alu(Alu::Add, Reg::R0, Reg::R1);
        }
        self.code.bind(summed);
        for shift in [32, 16, 16] {
            self.mov(Reg::R1, Reg::R0);
            self.alu(Alu::Rsh, Reg::R1, shift);
            let mask = if shift == 32 { -1 } else { 0xffff };
            let and = Op::Alu(Width::W32, Alu::And, Reg::R0, Operand::Imm(mask));
            self.code.push(and);
            self.alu(Alu::Add, Reg::R0, Reg::R1);
        }
        self.if_imm(Cond::Ne, Reg::R0, 0xffff, pass);
    }

    fn header6(&mut self) {
        self.fetch(40, self.pass);
        if self.hook == Hook::Xdp {
            self.check6();
        }
        for (offset, from) in [
            (Field::Source6.place().offset, 8),
            (Field::Destination6.place().offset, 24),
        ] {
            self.copy(Size::D, offset, from);
            self.copy(Size::D, offset + 8, from + 8);
        }
        self.copy(Size::B, Field::Protocol.place().offset, 6);
        self.scratch_be16(Reg::R1, 0);
        self.alu(Alu::Rsh, Reg::R1, 4);
        self.keep(Size::B, layout::TOS, Reg::R1);
        self.set(AT, 40);
    }

    /// What `ip6_rcv` checks; leaves the packet's length in the struct.
    fn check6(&mut self) {
        let pass = self.pass;
        self.scratch(Size::B, Reg::R1, 0);
        self.alu(Alu::Rsh, Reg::R1, 4);
        self.if_imm(Cond::Ne, Reg::R1, 6, pass);
        self.check_addresses6();
        self.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
        self.alu(Alu::Sub, Reg::R3, BASE);
        self.scratch_be16(Reg::R4, 4);
        let plain = self.code.label();
        let known = self.code.label();
        self.if_imm(Cond::Ne, Reg::R4, 0, plain);
        // No length and hop-by-hop options next: a jumbo payload, nothing is trimmed.
        self.scratch(Size::B, Reg::R1, 6);
        self.if_imm(Cond::Ne, Reg::R1, 0, plain);
        self.mov(Reg::R4, Reg::R3);
        self.code.jump(known);
        self.code.bind(plain);
        self.alu(Alu::Add, Reg::R4, 40);
        self.if_reg(Cond::Gt, Reg::R4, Reg::R3, pass);
        self.code.bind(known);
        self.keep(Size::W, layout::LENGTH, Reg::R4);
    }

    /// No multicast source, no multicast destination of scope 0, and off the loopback interface (always
    /// number 1) neither `::1` nor interface-local multicast.
    fn check_addresses6(&mut self) {
        let pass = self.pass;
        self.scratch(Size::B, Reg::R1, 8);
        self.if_imm(Cond::Eq, Reg::R1, 0xff, pass);
        let unicast = self.code.label();
        let checked = self.code.label();
        self.load(Size::W, Reg::R2, CONTEXT, xdp::INGRESS_IFINDEX);
        self.scratch(Size::B, Reg::R1, 24);
        self.if_imm(Cond::Ne, Reg::R1, 0xff, unicast);
        self.scratch(Size::B, Reg::R1, 25);
        self.alu(Alu::And, Reg::R1, 0x0f);
        self.if_imm(Cond::Eq, Reg::R1, 0, pass);
        self.if_imm(Cond::Ne, Reg::R1, 1, unicast);
        self.if_imm(Cond::Ne, Reg::R2, LOOPBACK_IFINDEX, pass);
        self.code.bind(unicast);
        self.if_imm(Cond::Eq, Reg::R2, LOOPBACK_IFINDEX, checked);
        for address in [8, 24] {
            let other = self.code.label();
            self.scratch(Size::D, Reg::R1, address);
            self.if_imm(Cond::Ne, Reg::R1, 0, other);
            self.scratch(Size::D, Reg::R1, address + 8);
            self.code.to_big_endian(Reg::R1, 64);
            self.if_imm(Cond::Eq, Reg::R1, 1, pass);
            self.code.bind(other);
        }
        self.code.bind(checked);
    }

    /// `ipv6_find_hdr` as rules with `-p` call it: the protocol behind the extension headers into the
    /// struct, its offset in R9.
    fn walk(&mut self) {
        self.code.line("walk the extension headers");
        let [again, options, authentication, routing, fragment] =
            [(); 5].map(|()| self.code.label());
        let [next, later, broken, done] = [(); 4].map(|()| self.code.label());
        let protocol = Field::Protocol.place().offset;
        self.set(STEP, 0);
        self.code.bind(again);
        self.field(Size::B, Reg::R1, protocol);
        for (number, label) in [
            (0, options),
            (60, options),
            (51, authentication),
            (43, routing),
            (44, fragment),
        ] {
            self.if_imm(Cond::Eq, Reg::R1, number, label);
        }
        self.code.jump(done);

        self.code.bind(routing);
        self.need(4, broken);
        self.code.bind(options);
        self.need(2, broken);
        self.fetch(2, self.drop);
        self.scratch(Size::B, Reg::R1, 1);
        self.alu(Alu::Add, Reg::R1, 1);
        self.alu(Alu::Lsh, Reg::R1, 3);
        self.code.jump(next);

        self.code.bind(authentication);
        self.need(2, broken);
        self.fetch(2, self.drop);
        self.scratch(Size::B, Reg::R1, 1);
        self.alu(Alu::Add, Reg::R1, 2);
        self.alu(Alu::Lsh, Reg::R1, 2);
        self.code.jump(next);

        self.code.bind(fragment);
        self.need(4, broken);
        self.fetch(4, self.drop);
        self.scratch_be16(Reg::R1, 2);
        self.alu(Alu::And, Reg::R1, 0xfff8);
        self.if_imm(Cond::Ne, Reg::R1, 0, later);
        self.set(Reg::R1, 8);

        self.code.bind(next);
        self.alu(Alu::Add, AT, Reg::R1);
        self.forget(AT);
        self.copy(Size::B, protocol, 0);
        self.alu(Alu::Add, STEP, 1);
        self.if_imm(Cond::Lt, STEP, MAX_EXTENSION_HEADERS as i32, again);

        self.code.bind(broken);
        self.store(Size::B, Field::BrokenHeaders.place().offset, 1);
        self.code.jump(done);

        self.code.bind(later);
        self.scratch(Size::B, Reg::R2, 0);
        for extension in [0, 60, 51, 43, 44] {
            self.if_imm(Cond::Eq, Reg::R2, extension, broken);
        }
        self.keep(Size::B, protocol, Reg::R2);
        self.keep(Size::H, Field::FragmentOffset.place().offset, Reg::R1);
        self.code.bind(done);
    }

    /// Reads the transport header at R9, as far as there is one. Behind the first fragment and behind
    /// broken extension headers no rule asks for it.
    fn transport(&mut self, demand: Demand) {
        self.code.line("read the transport header");
        let done = self.code.label();
        self.field(Size::H, Reg::R1, Field::FragmentOffset.place().offset);
        self.if_imm(Cond::Ne, Reg::R1, 0, done);
        self.field(Size::W, Reg::R1, layout::LENGTH);
        self.if_reg(Cond::Ge, AT, Reg::R1, done);
        self.alu(Alu::Sub, Reg::R1, AT);
        self.keep(Size::W, Field::TransportLength.place().offset, Reg::R1);
        if demand.transport {
            for offset in [0, 8, 16] {
                self.store(Size::D, self.frame.scratch() + offset, 0);
            }
            let fetched = self.code.label();
            let [eight, four] = [(); 2].map(|()| self.code.label());
            self.if_imm(Cond::Lt, Reg::R1, 20, eight);
            self.fetch(20, self.drop);
            self.code.jump(fetched);
            self.code.bind(eight);
            self.if_imm(Cond::Lt, Reg::R1, 8, four);
            self.fetch(8, self.drop);
            self.code.jump(fetched);
            self.code.bind(four);
            self.if_imm(Cond::Lt, Reg::R1, 4, done);
            self.fetch(4, self.drop);
            self.code.bind(fetched);
            self.transport_fields();
            if demand.tcp_options {
                self.tcp_options(done);
            }
        }
        self.code.bind(done);
    }

    fn transport_fields(&mut self) {
        for (field, from) in [(Field::SourcePort, 0), (Field::DestinationPort, 2)] {
            self.scratch_be16(Reg::R1, from);
            self.keep(Size::H, field.place().offset, Reg::R1);
        }
        for (field, from) in [
            (Field::IcmpType, 0),
            (Field::IcmpCode, 1),
            (Field::TcpFlags, 13),
        ] {
            self.copy(Size::B, field.place().offset, from);
        }
        self.scratch(Size::B, Reg::R1, 12);
        self.alu(Alu::Rsh, Reg::R1, 4);
        self.keep(Size::B, Field::TcpHeaderWords.place().offset, Reg::R1);
    }

    /// The set of option kinds, walked as `tcp_find_option` does. The walk is unrolled: each byte in turn
    /// is looked at when the walk has come to it, so that all accesses are constant.
    fn tcp_options(&mut self, done: Label) {
        self.code.line("walk the TCP options");
        let (kind, sets) = (Reg::R1, [Reg::R2, Reg::R3, Reg::R4, Reg::R5]);
        self.field(Size::B, Reg::R1, Field::Protocol.place().offset);
        self.if_imm(Cond::Ne, Reg::R1, 6, done);
        self.field(Size::W, Reg::R2, Field::TransportLength.place().offset);
        self.if_imm(Cond::Lt, Reg::R2, 20, done);
        self.field(Size::B, STEP, Field::TcpHeaderWords.place().offset);
        self.alu(Alu::And, STEP, 15);
        self.alu(Alu::Lsh, STEP, 2);
        self.if_reg(Cond::Gt, STEP, Reg::R2, done);
        self.store(Size::B, Field::TcpOptionsWhole.place().offset, 1);
        self.if_imm(Cond::Le, STEP, 20, done);
        self.alu(Alu::Sub, STEP, 20);
        self.alu(Alu::Add, AT, 20);
        for offset in (0..40).step_by(8) {
            self.store(Size::D, self.frame.scratch() + offset, 0);
        }
        self.fetch_words(STEP);
        for set in sets {
            self.set(set, 0);
        }
        let (at, end, finished) = (AT, STEP, self.code.label());
        self.set(at, 0);
        for byte in 0..40 {
            if byte % 4 == 0 && byte > 0 {
                self.if_imm(Cond::Le, end, byte.into(), finished);
            }
            let next = self.code.label();
            self.if_imm(Cond::Ne, at, byte.into(), next);
            self.scratch(Size::B, kind, byte);
            self.set(Reg::R0, 1);
            self.alu(Alu::Lsh, Reg::R0, kind);
            let stored = self.code.label();
            for (set, bound) in sets.into_iter().zip([63, 127, 191]) {
                let above = self.code.label();
                self.if_imm(Cond::Gt, kind, bound, above);
                self.alu(Alu::Or, set, Reg::R0);
                self.code.jump(stored);
                self.code.bind(above);
            }
            self.alu(Alu::Or, sets[3], Reg::R0);
            self.code.bind(stored);
            self.set(at, i32::from(byte) + 1);
            if byte < 39 {
                self.if_imm(Cond::Lt, kind, 2, next);
                self.scratch(Size::B, kind, byte + 1);
                self.if_imm(Cond::Eq, kind, 0, next);
                self.set(at, byte.into());
                self.alu(Alu::Add, at, kind);
            }
            self.code.bind(next);
        }
        self.code.bind(finished);
        for (set, offset) in sets.into_iter().zip((0..32).step_by(8)) {
            self.keep(Size::D, layout::TCP_OPTIONS + offset, set);
        }
    }

    /// The name of the packet's interface, by the kernel's structures or the devices map, into a field.
    pub fn device(&mut self, field: Field, names: DeviceNames, devices: Option<MapId>) {
        self.code.line("the name of the interface");
        match (names, devices) {
            (DeviceNames::Kernel(access), _) => self.device_from_kernel(field, Some(access)),
            (DeviceNames::Relocated, _) => self.device_from_kernel(field, None),
            (DeviceNames::Table, Some(devices)) => {
                let index = match self.hook {
                    Hook::Xdp => xdp::INGRESS_IFINDEX,
                    Hook::CgroupIngress | Hook::CgroupEgress => skb::IFINDEX,
                };
                self.load(Size::W, Reg::R1, CONTEXT, index);
                self.device_from_table(field, devices);
            }
            (DeviceNames::Table, None) => {}
        }
    }

    /// The name behind the interface index in R1; the packet is dropped when the map does not hold it.
    pub fn device_from_table(&mut self, field: Field, devices: MapId) {
        let drop = self.drop;
        self.keep(Size::W, self.frame.scratch(), Reg::R1);
        self.code.load_imm64(Reg::R1, Imm64::Map(devices));
        self.mov(Reg::R2, Reg::R10);
        self.alu(
            Alu::Add,
            Reg::R2,
            i32::from(self.frame.address(self.frame.scratch())),
        );
        self.code.call(Helper::MapLookupElem);
        self.code.branch(Cond::Eq, Reg::R0, 0, drop);
        for half in [0, 8] {
            self.load(Size::D, Reg::R1, Reg::R0, half);
            self.keep(Size::D, field.place().offset + half, Reg::R1);
        }
    }

    /// `bpf_cast_to_kern_ctx(ctx)->dev->name`; an address that cannot be read gives the empty name.
    /// Without numbers, the loader has to find them.
    fn device_from_kernel(&mut self, field: Field, access: Option<DeviceAccess>) {
        self.mov(Reg::R1, CONTEXT);
        match access {
            Some(access) => self.code.call_kfunc(KfuncId(access.cast_to_kern_ctx)),
            None => self.code.call_extern(Extern::CastToKernCtx),
        }
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                self.load_field(Reg::R3, Reg::R0, KernelField::SkbDevice, access);
            }
            Hook::Xdp => {
                self.load_field(Reg::R3, Reg::R0, KernelField::XdpQueue, access);
                self.load_field(Reg::R3, Reg::R3, KernelField::QueueDevice, access);
            }
        }
        let name = KernelField::DeviceName;
        match access {
            Some(access) => self.alu(Alu::Add, Reg::R3, i32::from(access.offset(name))),
            None => self.code.add_offset(Reg::R3, name),
        }
        self.mov(Reg::R1, Reg::R10);
        self.alu(
            Alu::Add,
            Reg::R1,
            i32::from(self.frame.address(field.place().offset)),
        );
        self.set(Reg::R2, 16);
        self.code.call(Helper::ProbeReadKernel);
    }

    /// `dst = base->field`, a pointer
    fn load_field(
        &mut self,
        dst: Reg,
        base: Reg,
        field: KernelField,
        access: Option<DeviceAccess>,
    ) {
        match access {
            Some(access) => self.load(Size::D, dst, base, access.offset(field) as i16),
            None => self.code.load_field(dst, base, field),
        }
    }

    /// Goes to `missing` unless the packet has so many bytes at R9.
    fn need(&mut self, bytes: i32, missing: Label) {
        self.field(Size::W, Reg::R2, layout::LENGTH);
        self.mov(Reg::R3, AT);
        self.alu(Alu::Add, Reg::R3, bytes);
        self.if_reg(Cond::Gt, Reg::R3, Reg::R2, missing);
    }

    /// Copies bytes of the packet at R9 to the scratch area; goes to `missing` when a frame ends before
    /// them. R1 to R5 are lost.
    fn fetch(&mut self, bytes: i16, missing: Label) {
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                self.set(Reg::R4, bytes.into());
                self.load_bytes();
            }
            Hook::Xdp => {
                self.pointer();
                self.bytes_from(Reg::R4, bytes, missing);
                let mut offset = 0;
                while offset < bytes {
                    let (size, step) = match bytes - offset {
                        8.. => (Size::D, 8),
                        4.. => (Size::W, 4),
                        _ => (Size::H, 2),
                    };
                    self.load(size, Reg::R1, Reg::R4, offset);
                    self.keep(size, self.frame.scratch() + offset, Reg::R1);
                    offset += step;
                }
            }
        }
    }

    /// Copies as many bytes as a register says, a multiple of 4 from 4 to 40, to the scratch area.
    fn fetch_words(&mut self, bytes: Reg) {
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                self.mov(Reg::R4, bytes);
                self.load_bytes();
            }
            Hook::Xdp => {
                self.pointer();
                self.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
                let fetched = self.code.label();
                for word in 0..10 {
                    self.if_imm(Cond::Le, bytes, 4 * word, fetched);
                    self.mov(Reg::R1, Reg::R4);
                    self.alu(Alu::Add, Reg::R1, 4 * (word + 1));
                    self.if_reg(Cond::Gt, Reg::R1, Reg::R3, self.drop);
                    self.load(Size::W, Reg::R1, Reg::R4, 4 * word as i16);
                    self.keep(Size::W, self.frame.scratch() + 4 * word as i16, Reg::R1);
                }
                self.code.bind(fetched);
            }
        }
    }

    /// `bpf_skb_load_bytes(ctx, r9, scratch, r4)`
    fn load_bytes(&mut self) {
        let drop = self.drop;
        self.mov(Reg::R1, CONTEXT);
        self.mov(Reg::R2, AT);
        self.mov(Reg::R3, Reg::R10);
        self.alu(
            Alu::Add,
            Reg::R3,
            i32::from(self.frame.address(self.frame.scratch())),
        );
        self.code.call(Helper::SkbLoadBytes);
        self.code.branch(Cond::Ne, Reg::R0, 0, drop);
    }

    /// R4 = the address of the packet's byte at R9, in the frame.
    fn pointer(&mut self) {
        // Frames are shorter; the verifier wants to see it.
        self.if_imm(Cond::Gt, AT, 0xff00, self.drop);
        self.mov(Reg::R4, BASE);
        self.alu(Alu::Add, Reg::R4, AT);
    }

    /// Goes to `missing` unless the frame has so many bytes at an address.
    fn bytes_from(&mut self, address: Reg, bytes: i16, missing: Label) {
        self.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
        self.mov(Reg::R5, address);
        self.alu(Alu::Add, Reg::R5, i32::from(bytes));
        self.if_reg(Cond::Gt, Reg::R5, Reg::R3, missing);
    }

    /// Makes the verifier forget the bounds of a number of 32 bits, so that all ways through a loop look
    /// the same to it: what is stored off an 8-byte boundary counts as unknown when it is read.
    fn forget(&mut self, reg: Reg) {
        let offset = self.frame.scratch() + Frame::SCRATCH - 4;
        self.keep(Size::W, offset, reg);
        self.field(Size::W, reg, offset);
    }

    fn copy(&mut self, size: Size, to: i16, from: i16) {
        self.scratch(size, Reg::R1, from);
        self.keep(size, to, Reg::R1);
    }

    fn scratch(&mut self, size: Size, dst: Reg, offset: i16) {
        self.field(size, dst, self.frame.scratch() + offset);
    }

    fn scratch_be16(&mut self, dst: Reg, offset: i16) {
        self.scratch(Size::H, dst, offset);
        self.code.to_big_endian(dst, 16);
    }

    fn field(&mut self, size: Size, dst: Reg, offset: i16) {
        self.load(size, dst, Reg::R10, self.frame.address(offset));
    }

    fn keep(&mut self, size: Size, offset: i16, src: Reg) {
        let address = self.frame.address(offset);
        self.code.store(size, Reg::R10, address, src);
    }

    fn store(&mut self, size: Size, offset: i16, value: i32) {
        let address = self.frame.address(offset);
        self.code.store(size, Reg::R10, address, value);
    }

    fn load(&mut self, size: Size, dst: Reg, base: Reg, offset: i16) {
        self.code.load(size, dst, base, offset);
    }

    fn set(&mut self, dst: Reg, value: i32) {
        self.alu(Alu::Mov, dst, value);
    }

    fn mov(&mut self, dst: Reg, src: Reg) {
        self.alu(Alu::Mov, dst, src);
    }

    fn alu(&mut self, op: Alu, dst: Reg, operand: impl Into<Operand>) {
        self.code.alu(op, dst, operand);
    }

    fn if_imm(&mut self, cond: Cond, reg: Reg, value: i32, target: Label) {
        self.code.branch(cond, reg, value, target);
    }

    fn if_reg(&mut self, cond: Cond, left: Reg, right: Reg, target: Label) {
        self.code.branch(cond, left, right, target);
    }
}
