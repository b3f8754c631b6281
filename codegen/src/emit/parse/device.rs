//! The names of interfaces.

use super::{CONTEXT, Parser, skb, xdp};
use crate::asm::{Alu, Cond, Extern, Helper, Imm64, KernelField, KfuncId, MapId, Reg, Size};
use crate::field::Field;
use crate::module::Hook;
use crate::options::{DeviceAccess, DeviceNames};

impl Parser<'_> {
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
}
