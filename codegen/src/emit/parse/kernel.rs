//! What only the kernel's own structures tell.

use super::{CONTEXT, Demand, Parser, xdp};
use crate::asm::{Alu, Code, Cond, Extern, Helper, KernelField, Reg, Size};
use crate::field::{Field, link};
use crate::module::Hook;
use crate::options::{DeviceAccess, DeviceNames};

/// `ARPHRD_ETHER` (include/uapi/linux/if_arp.h).
const ARPHRD_ETHER: i32 = 1;
/// Length of an Ethernet header.
const ETH_HLEN: i32 = 14;
/// Where the source address lies in it.
const SOURCE: i32 = 6;
/// `BPF_HDR_START_MAC` (include/uapi/linux/bpf.h).
const START_MAC: i32 = 0;

/// How a program finds its way in the kernel's structures.
#[derive(Clone, Copy)]
pub enum KernelAccess {
    /// By these numbers.
    Known(DeviceAccess),
    /// By what the loader puts in.
    Relocated,
}

impl KernelAccess {
    /// None when a program may not look there.
    pub fn of(names: DeviceNames) -> Option<Self> {
        match names {
            DeviceNames::Table => None,
            DeviceNames::Kernel(access) => Some(KernelAccess::Known(access)),
            DeviceNames::Relocated => Some(KernelAccess::Relocated),
        }
    }

    /// `r0 = function(r1, ..., r5)`
    pub fn call(self, code: &mut Code, function: Extern) {
        match self {
            KernelAccess::Known(access) => code.call_kfunc(access.function(function)),
            KernelAccess::Relocated => code.call_extern(function),
        }
    }
}

impl Parser<'_> {
    /// The fields that rules ask for and the context does not have.
    pub fn kernel_fields(&mut self, demand: &Demand, access: KernelAccess) {
        if demand.has(Field::DeviceGroup) {
            self.code.line("the group of the interface");
            self.device_in_kernel(access);
            let place = Field::DeviceGroup.place();
            self.read_kernel(KernelField::DeviceGroup, place.offset, 4, access);
        }
        if demand.has(Field::Realm) {
            self.code.line("the realm of the route");
            self.context_in_kernel(access);
            self.load_field(Reg::R3, Reg::R0, KernelField::SkbRoute, access);
            // Bit 0 says whether the packet holds a reference (SKB_DST_NOREF, include/linux/skbuff.h).
            self.alu(Alu::And, Reg::R3, !1);
            let place = Field::Realm.place();
            self.read_kernel(KernelField::RouteRealm, place.offset, 4, access);
        }
        if demand.link() && self.hook == Hook::CgroupIngress {
            self.code.line("the Ethernet header");
            self.link_from_kernel(access);
            if demand.has(Field::SourceIsEui64) {
                self.compare_eui64();
            }
        }
    }

    /// `mac_mt` (net/netfilter/xt_mac.c): whether 14 bytes lie between the start of the link layer's header
    /// and that of the packet, the interface's type, and the source address.
    fn link_from_kernel(&mut self, access: KernelAccess) {
        let (packet, found) = (Reg::R7, Reg::R8);
        let (mac_header, network_header, device_type) = (0, 2, 4);
        let scratch = self.frame.scratch();
        self.context_in_kernel(access);
        self.mov(packet, Reg::R0);
        for (field, to) in [
            (KernelField::SkbMacHeader, mac_header),
            (KernelField::SkbNetworkHeader, network_header),
        ] {
            self.mov(Reg::R3, packet);
            self.read_kernel(field, scratch + to, 2, access);
        }
        self.load_field(Reg::R3, packet, KernelField::SkbDevice, access);
        self.read_kernel(KernelField::DeviceType, scratch + device_type, 2, access);
        let (other_type, no_header) = (self.code.label(), self.code.label());
        self.set(found, 0);
        self.scratch(Size::H, Reg::R1, device_type);
        self.if_imm(Cond::Ne, Reg::R1, ARPHRD_ETHER, other_type);
        self.set(found, link::ETHERNET.into());
        self.code.bind(other_type);
        self.scratch(Size::H, Reg::R1, mac_header);
        self.scratch(Size::H, Reg::R2, network_header);
        self.alu(Alu::Add, Reg::R1, ETH_HLEN);
        self.if_reg(Cond::Gt, Reg::R1, Reg::R2, no_header);
        self.mov(Reg::R1, CONTEXT);
        self.set(Reg::R2, SOURCE);
        self.point_to(Reg::R3, Field::SourceMac.place().offset);
        self.set(Reg::R4, 6);
        self.set(Reg::R5, START_MAC);
        self.code.call(Helper::SkbLoadBytesRelative);
        self.if_imm(Cond::Ne, Reg::R0, 0, no_header);
        self.alu(Alu::Or, found, i32::from(link::MAC_HEADER));
        self.code.bind(no_header);
        self.keep(Size::B, Field::Link.place().offset, found);
    }

    /// Drops a frame at XDP that is not for this station, as the kernel does (`PACKET_OTHERHOST`).
    pub fn for_this_station(&mut self, access: KernelAccess) {
        self.code.line("is the frame for this station");
        self.device_in_kernel(access);
        self.load_field(Reg::R3, Reg::R3, KernelField::DeviceAddress, access);
        let scratch = self.frame.scratch();
        self.point_to(Reg::R1, scratch);
        self.set(Reg::R2, 6);
        self.code.call(Helper::ProbeReadKernel);
        self.load(Size::W, Reg::R4, CONTEXT, xdp::DATA);
        self.bytes_from(Reg::R4, 6, self.drop);
        for (size, offset) in [(Size::W, 0), (Size::H, 4)] {
            self.load(size, Reg::R1, Reg::R4, offset);
            self.scratch(size, Reg::R2, offset);
            self.if_reg(Cond::Ne, Reg::R1, Reg::R2, self.drop);
        }
    }

    /// R0 = the structure behind the context.
    fn context_in_kernel(&mut self, access: KernelAccess) {
        self.mov(Reg::R1, CONTEXT);
        access.call(self.code, Extern::CastToKernCtx);
    }

    /// R3 = the packet's `struct net_device`.
    pub(super) fn device_in_kernel(&mut self, access: KernelAccess) {
        self.context_in_kernel(access);
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                self.load_field(Reg::R3, Reg::R0, KernelField::SkbDevice, access);
            }
            Hook::Xdp => {
                self.load_field(Reg::R3, Reg::R0, KernelField::XdpQueue, access);
                self.load_field(Reg::R3, Reg::R3, KernelField::QueueDevice, access);
            }
        }
    }

    /// Copies a field of the structure at R3 to the stack; zeros when it cannot be read.
    pub(super) fn read_kernel(
        &mut self,
        from: KernelField,
        to: i16,
        size: i32,
        access: KernelAccess,
    ) {
        match access {
            KernelAccess::Known(access) => {
                self.alu(Alu::Add, Reg::R3, i32::from(access.offset(from)));
            }
            KernelAccess::Relocated => self.code.add_offset(Reg::R3, from),
        }
        self.point_to(Reg::R1, to);
        self.set(Reg::R2, size);
        self.code.call(Helper::ProbeReadKernel);
    }

    /// `dst = base->field`, 8 bytes
    fn load_field(&mut self, dst: Reg, base: Reg, field: KernelField, access: KernelAccess) {
        match access {
            KernelAccess::Known(access) => {
                self.load(Size::D, dst, base, access.offset(field) as i16)
            }
            KernelAccess::Relocated => self.code.load_field(dst, base, field),
        }
    }
}
