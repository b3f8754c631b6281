//! The transport header, and the options of TCP.

use super::{AT, Demand, Parser, STEP};
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::field::{Field, layout};

impl Parser<'_> {
    /// Reads the transport header at R9, as far as there is one. Behind the first fragment and behind
    /// broken extension headers no rule asks for it.
    pub(super) fn transport(&mut self, demand: Demand) {
        self.code.line("read the transport header");
        let done = self.code.label();
        self.field(Size::H, Reg::R1, Field::FragmentOffset.place().offset);
        self.if_imm(Cond::Ne, Reg::R1, 0, done);
        self.keep(Size::H, layout::TRANSPORT, AT);
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

    pub(super) fn transport_fields(&mut self) {
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
    pub(super) fn tcp_options(&mut self, done: Label) {
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
}
