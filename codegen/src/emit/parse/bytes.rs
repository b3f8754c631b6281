//! Bytes of the packet into the scratch area, and other small moves.

use super::{AT, BASE, CONTEXT, Parser, xdp};
use crate::asm::{Alu, Cond, Helper, Label, Operand, Reg, Size};
use crate::emit::frame::Frame;
use crate::field::layout;
use crate::module::Hook;

impl Parser<'_> {
    /// Goes to `missing` unless the packet has so many bytes at R9.
    pub(super) fn need(&mut self, bytes: i32, missing: Label) {
        self.field(Size::W, Reg::R2, layout::LENGTH);
        self.mov(Reg::R3, AT);
        self.alu(Alu::Add, Reg::R3, bytes);
        self.if_reg(Cond::Gt, Reg::R3, Reg::R2, missing);
    }

    /// Copies bytes of the packet at R9 to the scratch area; goes to `missing` when a frame ends before
    /// them. R1 to R5 are lost.
    pub(super) fn fetch(&mut self, bytes: i16, missing: Label) {
        self.fetch_to(self.frame.scratch(), bytes, missing);
    }

    /// The same to any place of the stack.
    pub(super) fn fetch_to(&mut self, place: i16, bytes: i16, missing: Label) {
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                self.set(Reg::R4, bytes.into());
                self.load_bytes(place);
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
                    self.keep(size, place + offset, Reg::R1);
                    offset += step;
                }
            }
        }
    }

    /// Makes the first bytes of the IP header readable by [`Parser::header`].
    pub(super) fn fetch_header(&mut self, bytes: i16) {
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => self.fetch(bytes, self.pass),
            Hook::Xdp => self.bytes_from(BASE, bytes, self.pass),
        }
    }

    /// `dst` = some of the first bytes of the IP header.
    pub(super) fn header(&mut self, size: Size, dst: Reg, offset: i16) {
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => self.scratch(size, dst, offset),
            Hook::Xdp => self.load(size, dst, BASE, offset),
        }
    }

    pub(super) fn header_be16(&mut self, dst: Reg, offset: i16) {
        self.header(Size::H, dst, offset);
        self.code.to_big_endian(dst, 16);
    }

    pub(super) fn copy_header(&mut self, size: Size, to: i16, from: i16) {
        self.header(size, Reg::R1, from);
        self.keep(size, to, Reg::R1);
    }

    /// Copies as many bytes as a register says, a multiple of 4 from 4 to 40, to the scratch area.
    pub(super) fn fetch_words(&mut self, bytes: Reg) {
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                self.mov(Reg::R4, bytes);
                self.load_bytes(self.frame.scratch());
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

    /// `bpf_skb_load_bytes(ctx, r9, place, r4)`
    fn load_bytes(&mut self, place: i16) {
        let drop = self.drop;
        self.mov(Reg::R1, CONTEXT);
        self.mov(Reg::R2, AT);
        self.point_to(Reg::R3, place);
        self.code.call(Helper::SkbLoadBytes);
        self.code.branch(Cond::Ne, Reg::R0, 0, drop);
    }

    /// R4 = the address of the packet's byte at R9, in the frame.
    pub(super) fn pointer(&mut self) {
        // Frames are shorter; the verifier wants to see it.
        self.if_imm(Cond::Gt, AT, 0xff00, self.drop);
        self.mov(Reg::R4, BASE);
        self.alu(Alu::Add, Reg::R4, AT);
    }

    /// Goes to `missing` unless the frame has so many bytes at an address.
    pub(super) fn bytes_from(&mut self, address: Reg, bytes: i16, missing: Label) {
        self.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
        self.mov(Reg::R5, address);
        self.alu(Alu::Add, Reg::R5, i32::from(bytes));
        self.if_reg(Cond::Gt, Reg::R5, Reg::R3, missing);
    }

    /// Makes the verifier forget the bounds of a number of 32 bits, so that all ways through a loop look
    /// the same to it: what is stored off an 8-byte boundary counts as unknown when it is read.
    pub(super) fn forget(&mut self, reg: Reg) {
        let offset = self.frame.scratch() + Frame::SCRATCH - 4;
        self.keep(Size::W, offset, reg);
        self.field(Size::W, reg, offset);
    }

    pub(super) fn copy(&mut self, size: Size, to: i16, from: i16) {
        self.scratch(size, Reg::R1, from);
        self.keep(size, to, Reg::R1);
    }

    pub(super) fn scratch(&mut self, size: Size, dst: Reg, offset: i16) {
        self.field(size, dst, self.frame.scratch() + offset);
    }

    pub(super) fn scratch_be16(&mut self, dst: Reg, offset: i16) {
        self.scratch(Size::H, dst, offset);
        self.code.to_big_endian(dst, 16);
    }

    /// `dst` = the address of a place on the stack.
    pub(super) fn point_to(&mut self, dst: Reg, offset: i16) {
        self.mov(dst, Reg::R10);
        self.alu(Alu::Add, dst, i32::from(self.frame.address(offset)));
    }

    pub(super) fn field(&mut self, size: Size, dst: Reg, offset: i16) {
        self.load(size, dst, Reg::R10, self.frame.address(offset));
    }

    pub(super) fn keep(&mut self, size: Size, offset: i16, src: Reg) {
        let address = self.frame.address(offset);
        self.code.store(size, Reg::R10, address, src);
    }

    pub(super) fn store(&mut self, size: Size, offset: i16, value: i32) {
        let address = self.frame.address(offset);
        self.code.store(size, Reg::R10, address, value);
    }

    pub(super) fn load(&mut self, size: Size, dst: Reg, base: Reg, offset: i16) {
        self.code.load(size, dst, base, offset);
    }

    pub(super) fn set(&mut self, dst: Reg, value: i32) {
        self.alu(Alu::Mov, dst, value);
    }

    pub(super) fn mov(&mut self, dst: Reg, src: Reg) {
        self.alu(Alu::Mov, dst, src);
    }

    pub(super) fn alu(&mut self, op: Alu, dst: Reg, operand: impl Into<Operand>) {
        self.code.alu(op, dst, operand);
    }

    pub(super) fn if_imm(&mut self, cond: Cond, reg: Reg, value: i32, target: Label) {
        self.code.branch(cond, reg, value, target);
    }

    pub(super) fn if_reg(&mut self, cond: Cond, left: Reg, right: Reg, target: Label) {
        self.code.branch(cond, left, right, target);
    }
}
