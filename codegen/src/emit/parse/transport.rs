//! The transport header, and the options of TCP.

use super::{AT, Demand, Parser, STEP};
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::emit::options::{self, TcpOptions};
use crate::field::{Field, NO_SEGMENT_SIZE, layout};

impl Parser<'_> {
    /// Reads the transport header at R9, or what a fragment has in its place, as far as there is one.
    /// Behind broken extension headers no rule asks for it.
    pub(super) fn transport(&mut self, demand: &Demand) {
        self.code.line("read the transport header");
        let done = self.code.label();
        if demand.whole {
            self.keep(Size::H, layout::TRANSPORT, AT);
        }
        self.field(Size::W, Reg::R1, layout::LENGTH);
        self.if_reg(Cond::Ge, AT, Reg::R1, done);
        self.alu(Alu::Sub, Reg::R1, AT);
        self.keep(Size::W, Field::TransportLength.place().offset, Reg::R1);
        if demand.transport() {
            self.transport_bytes(demand.transport_bytes(), done);
            if demand.tcp_options || demand.has_any(&Field::OF_TCP_OPTIONS) {
                self.tcp_options(demand, done);
            }
        }
        self.code.bind(done);
    }

    /// As many bytes of the header as there are, R1 in all, and rules ask for, into the struct.
    fn transport_bytes(&mut self, wanted: i16, done: Label) {
        const STEPS: [i16; 4] = [4, 8, 12, 16];
        // No fewer than 8 at first: the verifier would follow the value of a lone word.
        let wanted = wanted.max(8);
        let fetched = self.code.label();
        let enough = STEPS
            .iter()
            .position(|&bytes| wanted <= bytes)
            .unwrap_or(STEPS.len() - 1);
        for &bytes in STEPS[..=enough].iter().rev() {
            let next = match bytes {
                4 => done,
                _ => self.code.label(),
            };
            self.if_imm(Cond::Lt, Reg::R1, bytes.into(), next);
            self.fetch_to(layout::HEADER, bytes, self.drop);
            if bytes != 4 {
                self.code.jump(fetched);
                self.code.bind(next);
            }
        }
        self.code.bind(fetched);
    }

    /// Looks into the options of TCP.
    fn tcp_options(&mut self, demand: &Demand, done: Label) {
        self.code.line("read the TCP options");
        if demand.has(Field::MaximumSegment) {
            let none = NO_SEGMENT_SIZE as i32;
            self.store(Size::W, Field::MaximumSegment.place().offset, none);
        }
        self.field(Size::B, Reg::R1, Field::Protocol.place().offset);
        self.if_imm(Cond::Ne, Reg::R1, 6, done);
        self.field(Size::W, Reg::R2, Field::TransportLength.place().offset);
        self.if_imm(Cond::Lt, Reg::R2, 20, done);
        self.field(Size::B, STEP, Field::TcpDataOffset.place().offset);
        self.alu(Alu::Rsh, STEP, 4);
        self.alu(Alu::Lsh, STEP, 2);
        self.if_reg(Cond::Gt, STEP, Reg::R2, done);
        self.store(Size::B, Field::TcpOptionsWhole.place().offset, 1);
        self.if_imm(Cond::Le, STEP, 20, done);
        self.alu(Alu::Sub, STEP, 20);
        self.alu(Alu::Add, AT, 20);
        for offset in (0..options::SIZE).step_by(8) {
            self.store(Size::D, self.frame.scratch() + offset, 0);
        }
        self.fetch_words(STEP);
        let mut options = TcpOptions {
            bytes: self.frame.address(self.frame.scratch()),
            spare: None,
            packet: (Reg::R10, self.frame.address(0)),
            code: self.code,
        };
        if demand.tcp_options {
            options.kinds();
        }
        if demand.has(Field::MaximumSegment) {
            options.maximum_segment();
        }
    }
}
