//! The IP headers: addresses, length, the checks of `ip_rcv` and `ip6_rcv`, the walk over IPv6 extension headers.

use super::{AT, BASE, CONTEXT, Demand, LOOPBACK_IFINDEX, Parser, STEP, xdp};
use crate::asm::{Alu, Cond, Imm64, Reg, Size};
use crate::field::{Field, layout};
use crate::module::Hook;
use crate::packet::MAX_EXTENSION_HEADERS;

impl Parser<'_> {
    pub(super) fn header4(&mut self, demand: &Demand) {
        self.fetch_header(20);
        if self.hook == Hook::Xdp {
            self.check4();
        }
        for (field, size, from) in [
            (Field::Source4, Size::W, 12),
            (Field::Destination4, Size::W, 16),
            (Field::TypeOfService, Size::B, 1),
        ] {
            if demand.wants(field) {
                self.copy_header(size, field.place().offset, from);
            }
        }
        self.copy_header(Size::B, Field::Protocol.place().offset, 9);
        if demand.has(Field::TimeToLive) {
            self.copy_header(Size::B, Field::TimeToLive.place().offset, 8);
        }
        if demand.wants(Field::FragmentOffset) {
            self.header_be16(Reg::R1, 6);
            self.alu(Alu::And, Reg::R1, 0x1fff);
            self.keep(Size::H, Field::FragmentOffset.place().offset, Reg::R1);
        }
        if demand.more_fragments {
            self.header(Size::B, Reg::R1, 6);
            self.alu(Alu::And, Reg::R1, 0x20);
            self.keep(Size::B, layout::MORE_FRAGMENTS, Reg::R1);
        }
        if demand.reads_behind_ip() {
            self.header(Size::B, AT, 0);
            self.alu(Alu::And, AT, 15);
            self.alu(Alu::Lsh, AT, 2);
        }
    }

    /// What `ip_rcv` checks; leaves the packet's length in the struct.
    pub(super) fn check4(&mut self) {
        /// The first byte of a header without options: the version and its length in words.
        const PLAIN: i32 = 0x45;
        let pass = self.pass;
        // R2 is how many words the options have.
        self.header(Size::B, Reg::R2, 0);
        self.alu(Alu::Sub, Reg::R2, PLAIN);
        self.if_imm(Cond::Gt, Reg::R2, 0x4f - PLAIN, pass);
        self.header_be16(Reg::R4, 2);
        self.mov(Reg::R1, Reg::R2);
        self.alu(Alu::Lsh, Reg::R1, 2);
        self.alu(Alu::Add, Reg::R1, 20);
        self.if_reg(Cond::Lt, Reg::R4, Reg::R1, pass);
        self.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
        self.mov(Reg::R1, Reg::R3);
        self.alu(Alu::Sub, Reg::R1, BASE);
        self.if_reg(Cond::Gt, Reg::R4, Reg::R1, pass);
        self.keep(Size::W, layout::LENGTH, Reg::R4);
        // The checksum (RFC 1071): 32-bit words may be summed. Their sum must be a multiple of 0xffff, and it is
        // not zero: the version is not. As 0xffff times ONES is -1 in 64 bits, ONES makes of a multiple the
        // opposite of its factor, which is at most ONES, and of nothing else.
        const ONES: u64 = u64::MAX / 0xffff;
        self.set(Reg::R0, 0);
        for offset in (0..20).step_by(4) {
            self.header(Size::W, Reg::R1, offset);
            self.alu(Alu::Add, Reg::R0, Reg::R1);
        }
        let summed = self.code.label();
        for words in 0..10 {
            self.if_imm(Cond::Le, Reg::R2, words, summed);
            let begin = 20 + 4 * words;
            self.mov(Reg::R1, BASE);
            self.alu(Alu::Add, Reg::R1, begin + 4);
            self.if_reg(Cond::Gt, Reg::R1, Reg::R3, pass);
            self.load(Size::W, Reg::R1, BASE, begin as i16);
            self.alu(Alu::Add, Reg::R0, Reg::R1);
        }
        self.code.bind(summed);
        self.code.load_imm64(Reg::R1, Imm64::Number(ONES));
        self.alu(Alu::Mul, Reg::R0, Reg::R1);
        self.code
            .load_imm64(Reg::R1, Imm64::Number(ONES.wrapping_neg()));
        self.if_reg(Cond::Lt, Reg::R0, Reg::R1, pass);
    }

    pub(super) fn header6(&mut self, demand: &Demand) {
        self.fetch_header(40);
        if self.hook == Hook::Xdp {
            self.check6();
        }
        for (offset, from) in [
            (Field::Source6.place().offset, 8),
            (Field::Destination6.place().offset, 24),
        ] {
            self.copy_header(Size::D, offset, from);
            self.copy_header(Size::D, offset + 8, from + 8);
        }
        self.copy_header(Size::B, Field::Protocol.place().offset, 6);
        self.header_be16(Reg::R1, 0);
        self.alu(Alu::Rsh, Reg::R1, 4);
        self.keep(Size::B, Field::TypeOfService.place().offset, Reg::R1);
        if demand.has(Field::TimeToLive) {
            self.copy_header(Size::B, Field::TimeToLive.place().offset, 7);
        }
        self.set(AT, 40);
    }

    /// What `ip6_rcv` checks; leaves the packet's length in the struct.
    pub(super) fn check6(&mut self) {
        let pass = self.pass;
        self.header(Size::B, Reg::R1, 0);
        self.alu(Alu::Rsh, Reg::R1, 4);
        self.if_imm(Cond::Ne, Reg::R1, 6, pass);
        self.check_addresses6();
        self.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
        self.alu(Alu::Sub, Reg::R3, BASE);
        self.header_be16(Reg::R4, 4);
        let plain = self.code.label();
        let known = self.code.label();
        self.if_imm(Cond::Ne, Reg::R4, 0, plain);
        // No length and hop-by-hop options next: a jumbo payload, nothing is trimmed.
        self.header(Size::B, Reg::R1, 6);
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
    pub(super) fn check_addresses6(&mut self) {
        let pass = self.pass;
        self.header(Size::B, Reg::R1, 8);
        self.if_imm(Cond::Eq, Reg::R1, 0xff, pass);
        let unicast = self.code.label();
        let checked = self.code.label();
        self.load(Size::W, Reg::R2, CONTEXT, xdp::INGRESS_IFINDEX);
        self.header(Size::B, Reg::R1, 24);
        self.if_imm(Cond::Ne, Reg::R1, 0xff, unicast);
        self.header(Size::B, Reg::R1, 25);
        self.alu(Alu::And, Reg::R1, 0x0f);
        self.if_imm(Cond::Eq, Reg::R1, 0, pass);
        self.if_imm(Cond::Ne, Reg::R1, 1, unicast);
        self.if_imm(Cond::Ne, Reg::R2, LOOPBACK_IFINDEX, pass);
        self.code.bind(unicast);
        self.if_imm(Cond::Eq, Reg::R2, LOOPBACK_IFINDEX, checked);
        for address in [8, 24] {
            let other = self.code.label();
            self.header(Size::D, Reg::R1, address);
            self.if_imm(Cond::Ne, Reg::R1, 0, other);
            self.header(Size::D, Reg::R1, address + 8);
            self.code.to_big_endian(Reg::R1, 64);
            self.if_imm(Cond::Eq, Reg::R1, 1, pass);
            self.code.bind(other);
        }
        self.code.bind(checked);
    }

    /// `ipv6_find_hdr` as rules with `-p` call it: the protocol behind the extension headers into the
    /// struct, its offset in R9; 0 in later fragments.
    pub(super) fn walk(&mut self, demand: &Demand) {
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
        if demand.more_fragments {
            self.scratch(Size::B, Reg::R1, 3);
            self.alu(Alu::And, Reg::R1, 1);
            self.keep(Size::B, layout::MORE_FRAGMENTS, Reg::R1);
        }
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
        self.set(AT, 0);
        self.code.bind(done);
    }
}
