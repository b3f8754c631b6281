//! The names of interfaces.

use super::kernel::KernelAccess;
use super::{CONTEXT, Parser, skb, xdp};
use crate::asm::{Cond, Helper, Imm64, KernelField, MapId, Reg, Size};
use crate::field::Field;
use crate::module::Hook;
use crate::options::DeviceNames;

impl Parser<'_> {
    /// The name of the packet's interface, by the kernel's structures or the devices map, into a field.
    pub fn device(&mut self, field: Field, names: DeviceNames, devices: Option<MapId>) {
        self.code.line("the name of the interface");
        match (KernelAccess::of(names), devices) {
            (Some(access), _) => {
                // An address that cannot be read gives the empty name.
                self.device_in_kernel(access);
                self.read_kernel(KernelField::DeviceName, field.place().offset, 16, access);
            }
            (None, Some(devices)) => {
                let index = match self.hook {
                    Hook::Xdp => xdp::INGRESS_IFINDEX,
                    Hook::CgroupIngress | Hook::CgroupEgress => skb::IFINDEX,
                };
                self.load(Size::W, Reg::R1, CONTEXT, index);
                self.device_from_table(field, devices);
            }
            (None, None) => {}
        }
    }

    /// The name behind the interface index in R1; the packet is dropped when the map does not hold it.
    pub fn device_from_table(&mut self, field: Field, devices: MapId) {
        let drop = self.drop;
        self.keep(Size::W, self.frame.scratch(), Reg::R1);
        self.code.load_imm64(Reg::R1, Imm64::Map(devices));
        self.point_to(Reg::R2, self.frame.scratch());
        self.code.call(Helper::MapLookupElem);
        self.code.branch(Cond::Eq, Reg::R0, 0, drop);
        for half in [0, 8] {
            self.load(Size::D, Reg::R1, Reg::R0, half);
            self.keep(Size::D, field.place().offset + half, Reg::R1);
        }
    }
}
