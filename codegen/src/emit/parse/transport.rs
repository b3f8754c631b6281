//! The transport header, and the options of TCP.

use super::{AT, Demand, Parser, STEP};
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::field::{Field, NO_SEGMENT_SIZE, layout};

/// The most bytes of options that a TCP header can announce.
const TCP_OPTIONS_SIZE: i16 = 40;

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
        for offset in (0..TCP_OPTIONS_SIZE).step_by(8) {
            self.store(Size::D, self.frame.scratch() + offset, 0);
        }
        self.fetch_words(STEP);
        if demand.tcp_options {
            self.tcp_option_kinds();
        }
        if demand.has(Field::MaximumSegment) {
            self.maximum_segment();
        }
    }

    /// Walks the options in the scratch area, R8 bytes, as `tcp_find_option` does, and calls `visit` at each
    /// with its kind in R1. The walk is unrolled: each byte in turn is looked at when the walk has come to
    /// it, so that all accesses are constant. R0 and R1 are lost.
    fn each_tcp_option(&mut self, mut visit: impl FnMut(&mut Self, i16)) {
        let (kind, at, end, finished) = (Reg::R1, AT, STEP, self.code.label());
        self.set(at, 0);
        for byte in 0..TCP_OPTIONS_SIZE {
            if byte % 4 == 0 && byte > 0 {
                self.if_imm(Cond::Le, end, byte.into(), finished);
            }
            let next = self.code.label();
            self.if_imm(Cond::Ne, at, byte.into(), next);
            self.scratch(Size::B, kind, byte);
            visit(self, byte);
            self.set(at, i32::from(byte) + 1);
            if byte < TCP_OPTIONS_SIZE - 1 {
                self.if_imm(Cond::Lt, kind, 2, next);
                self.scratch(Size::B, kind, byte + 1);
                self.if_imm(Cond::Eq, kind, 0, next);
                self.set(at, byte.into());
                self.alu(Alu::Add, at, kind);
            }
            self.code.bind(next);
        }
        self.code.bind(finished);
    }

    /// The set of option kinds.
    fn tcp_option_kinds(&mut self) {
        self.code.line("the kinds of TCP options");
        let (kind, sets) = (Reg::R1, [Reg::R2, Reg::R3, Reg::R4, Reg::R5]);
        for set in sets {
            self.set(set, 0);
        }
        self.each_tcp_option(|parser, _| {
            parser.set(Reg::R0, 1);
            parser.alu(Alu::Lsh, Reg::R0, kind);
            let stored = parser.code.label();
            for (set, bound) in sets.into_iter().zip([63, 127, 191]) {
                let above = parser.code.label();
                parser.if_imm(Cond::Gt, kind, bound, above);
                parser.alu(Alu::Or, set, Reg::R0);
                parser.code.jump(stored);
                parser.code.bind(above);
            }
            parser.alu(Alu::Or, sets[3], Reg::R0);
            parser.code.bind(stored);
        });
        for (set, offset) in sets.into_iter().zip((0..32).step_by(8)) {
            self.keep(Size::D, layout::TCP_OPTIONS + offset, set);
        }
    }

    /// The first whole option of kind 2 and length 4 (`tcpmss_mt`, net/netfilter/xt_tcpmss.c).
    fn maximum_segment(&mut self) {
        self.code.line("the maximum segment size");
        let found = self.code.label();
        self.each_tcp_option(|parser, byte| {
            if byte + 4 > TCP_OPTIONS_SIZE {
                return;
            }
            let other = parser.code.label();
            parser.if_imm(Cond::Ne, Reg::R1, 2, other);
            parser.if_imm(Cond::Lt, STEP, i32::from(byte) + 4, other);
            parser.scratch(Size::B, Reg::R2, byte + 1);
            parser.if_imm(Cond::Ne, Reg::R2, 4, other);
            parser.scratch(Size::B, Reg::R2, byte + 2);
            parser.alu(Alu::Lsh, Reg::R2, 8);
            parser.scratch(Size::B, Reg::R3, byte + 3);
            parser.alu(Alu::Or, Reg::R2, Reg::R3);
            parser.keep(Size::W, Field::MaximumSegment.place().offset, Reg::R2);
            parser.code.jump(found);
            parser.code.bind(other);
        });
        self.code.bind(found);
    }
}
