//! What is to be known of the packet before its flow is locked.

use super::{AT, Table, Writer, header, in_question, stack};
use crate::asm::{Alu, Cond, Imm64, Label, Reg, Size};
use crate::emit::link::{CONTEXT, PACKET};
use crate::emit::words::{Compare, Fact, Place};
use crate::emit::worker::join;
use crate::field::{Field, layout as packet_layout};
use crate::track::code::{question, sctp};
use crate::track::resolve::{Class, protocol};
use crate::track::sctp::HEADER;
use crate::track::state;
use crate::track::tcp::{Index, MAX_SCALE, VALID_FLAGS, bits, flags};

impl Writer<'_> {
    /// Everything that is to be known of the packet before a lock is taken.
    pub(super) fn read(&mut self) {
        let (labels, state_place, class) = (self.labels, self.state, self.class);
        let untracked = self.body.code.label();
        self.script().branch(
            &state_place.is(u32::from(state::UNTRACKED)),
            true,
            labels.end,
        );
        self.question();
        self.script().set(class, in_question(question::CLASS));
        self.script()
            .branch(&class.is(Class::Invalid as u32), true, labels.invalid);
        self.script()
            .branch(&class.differs(Class::Untracked as u32), true, untracked);
        self.script().set(state_place, u32::from(state::UNTRACKED));
        self.body.code.jump(labels.end);
        self.body.code.bind(untracked);
        if let Table::Kernel(_) = self.table {
            self.leave_unknown();
        }
        self.body
            .code
            .load(Size::H, AT, PACKET, packet_layout::TRANSPORT);
        let [tcp, udp, association, done] = [(); 4].map(|()| self.body.code.label());
        self.script()
            .branch(&class.is(Class::Tcp as u32), true, tcp);
        self.script()
            .branch(&class.is(Class::Udp as u32), true, udp);
        self.script()
            .branch(&class.is(Class::Sctp as u32), true, association);
        self.body.code.jump(done);
        self.body.code.bind(association);
        self.read_sctp();
        self.body.code.jump(done);
        self.body.code.bind(udp);
        self.read_udp();
        self.body.code.jump(done);
        self.body.code.bind(tcp);
        self.read_tcp();
        self.body.code.bind(done);
    }

    fn read_udp(&mut self) {
        let invalid = self.labels.invalid;
        self.body.bytes(AT, 8, stack::FLOW, invalid);
        let code = &mut self.body.code;
        code.load(Size::H, Reg::R1, Reg::R10, stack::FLOW + 4);
        code.to_big_endian(Reg::R1, 16);
        let (whole, plain) = (code.label(), code.label());
        // UDP-Lite says there how much the checksum covers; 0 is all.
        code.load(Size::B, Reg::R2, PACKET, Field::Protocol.place().offset);
        code.branch(Cond::Ne, Reg::R2, i32::from(protocol::UDPLITE), plain);
        code.load(Size::H, Reg::R2, Reg::R10, stack::FLOW + 6);
        code.branch(Cond::Eq, Reg::R2, 0, invalid);
        code.branch(Cond::Eq, Reg::R1, 0, whole);
        code.bind(plain);
        code.branch(Cond::Lt, Reg::R1, 8, invalid);
        // What a first fragment lacks is in the others.
        code.load(Size::B, Reg::R2, PACKET, packet_layout::MORE_FRAGMENTS);
        code.branch(Cond::Ne, Reg::R2, 0, whole);
        code.load(Size::W, Reg::R2, PACKET, packet_layout::LENGTH);
        code.alu(Alu::Sub, Reg::R2, AT);
        code.branch(Cond::Gt, Reg::R1, Reg::R2, invalid);
        code.bind(whole);
    }

    fn read_sctp(&mut self) {
        let (invalid, it) = (self.labels.invalid, self.association);
        let header = HEADER as i32;
        self.body.bytes(AT, HEADER as i16, stack::FLOW, invalid);
        self.script()
            .set(it.tag, Place::word(Reg::R10, stack::FLOW + 4));
        self.body.frame_offset(Reg::R3);
        let code = &mut self.body.code;
        code.load(Size::W, Reg::R1, PACKET, packet_layout::LENGTH);
        code.alu(Alu::Add, Reg::R1, Reg::R3);
        code.mov(Reg::R2, AT);
        code.alu(Alu::Add, Reg::R2, Reg::R3);
        code.alu(Alu::Add, Reg::R2, header);
        join(code, Reg::R2, Reg::R1);
        code.mov(Reg::R1, CONTEXT);
        code.call_function(self.chunks);
        let done = code.label();
        let mut script = self.script();
        sctp::take(&mut script, &it, invalid);
        script.branch(&sctp::gives_tag(&it), false, done);
        self.body.code.alu(Alu::Add, AT, header);
        self.body.bytes(AT, 20, stack::FLOW, invalid);
        self.script()
            .set(it.init_tag, Place::word(Reg::R10, stack::FLOW + 4));
        self.body.code.bind(done);
    }

    fn read_tcp(&mut self) {
        let invalid = self.labels.invalid;
        let it = self.segment;
        self.body.bytes(AT, 20, stack::FLOW, invalid);
        let code = &mut self.body.code;
        for (place, offset) in [(it.sequence, 4), (it.ack, 8)] {
            code.load(Size::W, Reg::R1, Reg::R10, stack::FLOW + offset);
            code.to_big_endian(Reg::R1, 32);
            code.store(Size::W, place.base, place.offset, Reg::R1);
        }
        code.load(Size::H, Reg::R1, Reg::R10, stack::FLOW + 14);
        code.to_big_endian(Reg::R1, 16);
        code.store(Size::W, it.window.base, it.window.offset, Reg::R1);
        let mut script = self.script();
        script.set(it.flags, header(13));
        let code = &mut *script.code;
        code.load(Size::W, Reg::R1, it.flags.base, it.flags.offset);
        code.alu(Alu::And, Reg::R1, 0x37);
        let valid = VALID_FLAGS.iter().fold(0u64, |set, &it| set | 1 << it);
        code.load_imm64(Reg::R2, Imm64::Number(valid));
        code.alu(Alu::Rsh, Reg::R2, Reg::R1);
        code.alu(Alu::And, Reg::R2, 1);
        code.branch(Cond::Eq, Reg::R2, 0, invalid);
        let has = |bit: u8| it.flags.has(u32::from(bit));
        script.set(it.index, Index::None as u32);
        script.when(has(bits::ACK), |script| {
            script.set(it.index, Index::Ack as u32)
        });
        script.when(has(bits::FIN), |script| {
            script.set(it.index, Index::Fin as u32)
        });
        script.when(has(bits::SYN), |script| {
            script.either(
                has(bits::ACK),
                |script| script.set(it.index, Index::SynAck as u32),
                |script| script.set(it.index, Index::Syn as u32),
            );
        });
        script.when(has(bits::RST), |script| {
            script.set(it.index, Index::Rst as u32)
        });
        // The length of the header in R3, of the transport layer's bytes in R2.
        let code = &mut *script.code;
        code.load(Size::B, Reg::R3, Reg::R10, stack::FLOW + 12);
        code.alu(Alu::Rsh, Reg::R3, 4);
        code.branch(Cond::Lt, Reg::R3, 5, invalid);
        code.alu(Alu::Lsh, Reg::R3, 2);
        code.load(Size::W, Reg::R2, PACKET, packet_layout::LENGTH);
        code.alu(Alu::Sub, Reg::R2, AT);
        code.branch(Cond::Gt, Reg::R3, Reg::R2, invalid);
        code.alu(Alu::Sub, Reg::R2, Reg::R3);
        code.store(Size::W, it.end.base, it.end.offset, Reg::R2);
        code.mov(Reg::R8, AT);
        code.alu(Alu::Add, Reg::R8, Reg::R3);
        script.set(it.end, it.end + it.sequence);
        script.when(has(bits::SYN), |script| script.set(it.end, it.end + 1));
        script.when(has(bits::FIN), |script| script.set(it.end, it.end + 1));
        script.set(it.sack, it.ack);
        for place in [it.has_options, it.scale, it.offers] {
            script.set(place, 0);
        }
        self.options();
    }

    /// Walks the options, which lie from 20 bytes behind R9 up to R8.
    fn options(&mut self) {
        const END: Reg = Reg::R8;
        /// All that 40 bytes have room for.
        const MAX_OPTIONS: i32 = 40;
        let it = self.segment;
        let [again, done, next, with_length, sack] = [(); 5].map(|()| self.body.code.label());
        let code = &mut self.body.code;
        code.alu(Alu::Add, AT, 20);
        code.branch(Cond::Ge, AT, END, done);
        self.script().set(it.has_options, 1);
        let code = &mut self.body.code;
        code.store(Size::D, Reg::R10, stack::IS_NEW, 0);
        code.bind(again);
        self.body.bytes(AT, 1, stack::FLOW, done);
        let code = &mut self.body.code;
        code.load(Size::B, Reg::R1, Reg::R10, stack::FLOW);
        code.branch(Cond::Eq, Reg::R1, 0, done);
        code.branch(Cond::Ne, Reg::R1, 1, with_length);
        code.alu(Alu::Add, AT, 1);
        code.jump(next);
        code.bind(with_length);
        // The length in R2 is that of a whole option.
        code.mov(Reg::R1, AT);
        code.alu(Alu::Add, Reg::R1, 2);
        code.branch(Cond::Gt, Reg::R1, END, done);
        self.body.bytes(AT, 2, stack::FLOW, done);
        let code = &mut self.body.code;
        code.load(Size::B, Reg::R2, Reg::R10, stack::FLOW + 1);
        code.branch(Cond::Lt, Reg::R2, 2, done);
        code.mov(Reg::R1, AT);
        code.alu(Alu::Add, Reg::R1, Reg::R2);
        code.branch(Cond::Gt, Reg::R1, END, done);
        let advance = code.label();
        let mut script = self.script();
        let (kind, length) = (header(0), header(1));
        script.when(kind.is(4).and(length.is(2)), |script| {
            script.set(it.offers, it.offers | u32::from(flags::SACK_PERMITTED));
        });
        script.branch(&kind.is(5).and(length.above(9)), true, sack);
        script.branch(&kind.is(3).and(length.is(3)), false, advance);
        self.body.bytes(AT, 3, stack::FLOW, done);
        let mut script = self.script();
        script.set(it.offers, it.offers | u32::from(flags::WINDOW_SCALE));
        script.set(it.scale, header(2));
        script.when(it.scale.above(u32::from(MAX_SCALE)), |script| {
            script.set(it.scale, u32::from(MAX_SCALE));
        });
        let code = &mut self.body.code;
        code.jump(advance);
        code.bind(sack);
        self.selective_ack(advance);
        let code = &mut self.body.code;
        code.bind(advance);
        code.load(Size::B, Reg::R1, Reg::R10, stack::FLOW + 1);
        code.alu(Alu::Add, AT, Reg::R1);
        code.bind(next);
        // The verifier is to see all turns alike, but for their number.
        code.store(Size::W, Reg::R10, stack::FLOW + 4, AT);
        code.load(Size::W, AT, Reg::R10, stack::FLOW + 4);
        code.load(Size::D, Reg::R1, Reg::R10, stack::IS_NEW);
        code.alu(Alu::Add, Reg::R1, 1);
        code.store(Size::D, Reg::R10, stack::IS_NEW, Reg::R1);
        code.branch(Cond::Ge, Reg::R1, MAX_OPTIONS, done);
        code.branch(Cond::Lt, AT, END, again);
        code.bind(done);
    }

    /// The greatest end of the blocks of a SACK option at R9, whose first two bytes are on the stack;
    /// the first such option counts.
    fn selective_ack(&mut self, advance: Label) {
        const BLOCKS: i16 = 4;
        let (sack, ack) = (self.segment.sack, self.segment.ack);
        let done = self.body.code.label();
        let lengths = (1..=BLOCKS as u32).map(|blocks| header(1).is(2 + 8 * blocks));
        let fits = Fact::Any(lengths.collect());
        self.script().branch(&fits, false, advance);
        self.script().branch(&sack.differs(ack), true, advance);
        for block in 0..BLOCKS {
            let more = header(1).above(2 + 8 * block as u32);
            self.script().branch(&more, false, done);
            let code = &mut self.body.code;
            code.alu(Alu::Add, AT, i32::from(6 + 8 * block));
            self.body.bytes(AT, 4, stack::FLOW + 8, done);
            let code = &mut self.body.code;
            code.alu(Alu::Sub, AT, i32::from(6 + 8 * block));
            code.load(Size::W, Reg::R1, Reg::R10, stack::FLOW + 8);
            code.to_big_endian(Reg::R1, 32);
            code.store(Size::W, Reg::R10, stack::FLOW + 8, Reg::R1);
            let end = Place::word(Reg::R10, stack::FLOW + 8);
            self.script()
                .when(end.after(sack), |script| script.set(sack, end));
        }
        self.body.code.bind(done);
    }
}
