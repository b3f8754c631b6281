//! Ways through the kernel's structures, in routines. Each step is a `bpf_probe_read_kernel`, which gives
//! zeros where nothing can be read.

use super::link::{Body, CONTEXT};
use super::parse::KernelAccess;
use crate::asm::{Alu, Cond, Extern, Helper, KernelField, Label, Reg, Size};

/// Where on the stack a pointer lies while it is followed.
const POINTER: i16 = -8;

impl Body {
    /// R3 = the structure behind the context, a `struct sk_buff` or a `struct xdp_buff`. Goes to `missing`
    /// where programs may not look there, which whoever asks has refused.
    pub fn structure(&mut self, missing: Label) {
        self.code.mov(Reg::R1, CONTEXT);
        self.call_kernel(Extern::CastToKernCtx, missing);
        self.code.mov(Reg::R3, Reg::R0);
    }

    /// Calls a function of the kernel; goes to `missing` where programs may not.
    pub fn call_kernel(&mut self, function: Extern, missing: Label) {
        match self.access {
            Some(access) => access.call(&mut self.code, function),
            None => self.code.jump(missing),
        }
    }

    /// R3 = the address of a field of the structure at R3.
    pub fn field_of_structure(&mut self, field: KernelField) {
        match self.access {
            Some(KernelAccess::Known(access)) => {
                let offset = i32::from(access.offset(field));
                self.code.alu(Alu::Add, Reg::R3, offset);
            }
            Some(KernelAccess::Relocated) | None => self.code.add_offset(Reg::R3, field),
        }
    }

    /// Copies bytes at R3 to the stack. R0 to R5 are lost.
    pub fn read(&mut self, bytes: i32, to: i16) {
        self.stack(Reg::R1, to);
        self.code.mov(Reg::R2, bytes);
        self.code.call(Helper::ProbeReadKernel);
    }

    /// R3 = what a field of the structure at R3 points to; goes to `null` where it points to nothing.
    pub fn follow(&mut self, field: KernelField, null: Label) {
        self.field_of_structure(field);
        self.read(8, POINTER);
        self.code.load(Size::D, Reg::R3, Reg::R10, POINTER);
        self.code.branch(Cond::Eq, Reg::R3, 0, null);
    }

    /// `dst = a number of four bytes in the structure at R3`; R0 to R5 are lost.
    pub fn number_of(&mut self, field: KernelField, dst: Reg) {
        self.field_of_structure(field);
        self.read(4, POINTER);
        self.code.load(Size::W, dst, Reg::R10, POINTER);
    }
}
