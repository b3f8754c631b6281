//! `struct xt_cpu_info` (netfilter/xt_cpu.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::cpu::Cpu;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Cpu0 {
    cpu: U32,
    inverted: U32,
}

impl Wire for Cpu0 {
    type Value = Cpu;
    const NAME: &'static str = "cpu";

    fn read(&self, _: &Context<'_>) -> Result<Option<Cpu>, Refused> {
        if self.inverted.get() > 1 {
            return Err(Refused("an unknown inversion"));
        }
        Ok(Some(Cpu(test(self.inverted != 0, self.cpu.get()))))
    }

    fn write(value: &Cpu, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            cpu: value.0.value.value.into(),
            inverted: u32::from(value.0.negated).into(),
        })
    }
}
