//! The flow of the packet: one of the map, or one that the packet begins.

use super::{LOCK, Maps, Table, Writer, in_question, stack};
use crate::asm::{Alu, Cond, Helper, Imm64, Reg, Size};
use crate::emit::words::{Compare, Fact, Place, Word};
use crate::track::code::question;
use crate::track::code::sctp;
use crate::track::code::tcp::{self, FLOW};
use crate::track::resolve::Class;
use crate::track::tcp::GONE;
use crate::track::timeouts::UDP_STREAM_AFTER;
use crate::track::{Key, LOCKS, layout};

impl Writer<'_> {
    /// Looks the flow up, or makes a new one; either way it is locked then, if it can be.
    pub(super) fn find(&mut self) {
        let (labels, now, class) = (self.labels, self.now, self.class);
        let code = &mut self.body.code;
        code.call(Helper::Jiffies64);
        code.store(Size::W, now.base, now.offset, Reg::R0);
        match self.table {
            Table::Own(maps) => self.find_own(maps),
            Table::Kernel(family) => self.look_up(family),
        }
        self.body.code.bind(labels.fresh);
        self.fresh(class);
        self.body.code.bind(labels.found);
    }

    /// Goes on at one of the labels for flows that are found or not.
    fn find_own(&mut self, maps: Maps) {
        let (labels, now) = (self.labels, self.now);
        let lock = Place::word(Reg::R10, self.machine.new.offset);
        self.question();
        let code = &mut self.body.code;
        code.mov(Reg::R2, 0);
        for word in (0..Key::SIZE as i16).step_by(4) {
            code.load(Size::W, Reg::R3, Reg::R1, question::KEY + word);
            code.alu32(Alu::Add, Reg::R2, Reg::R3);
            code.alu32(Alu::Mul, Reg::R2, 0x9e37_79b1u32 as i32);
        }
        code.alu32(Alu::Rsh, Reg::R2, 32 - LOCKS.ilog2() as i32);
        code.store(Size::W, lock.base, lock.offset, Reg::R2);
        code.load_imm64(Reg::R1, Imm64::Map(maps.locks));
        self.body.stack(Reg::R2, lock.offset);
        let code = &mut self.body.code;
        code.call(Helper::MapLookupElem);
        code.branch(Cond::Eq, Reg::R0, 0, labels.invalid);
        code.mov(LOCK, Reg::R0);
        code.load_imm64(Reg::R1, Imm64::Map(maps.flows));
        code.load(Size::D, Reg::R2, Reg::R10, stack::QUESTION);
        code.call(Helper::MapLookupElem);
        code.branch(Cond::Eq, Reg::R0, 0, labels.fresh);
        code.mov(FLOW, Reg::R0);
        let alive = code.label();
        let left: Word = Place::word(FLOW, layout::EXPIRES) - now;
        let gone = Place::byte(FLOW, layout::TCP_STATE).is(u32::from(GONE));
        let lives = Fact::Compare(Cond::Sgt, left, 0.into()).and(gone.negated());
        self.script().branch(&lives, true, alive);
        self.delete();
        let code = &mut self.body.code;
        code.jump(labels.fresh);
        code.bind(alive);
        code.store(Size::D, Reg::R10, stack::IS_NEW, 0);
        self.lock(Helper::SpinLock);
        self.body.code.jump(labels.found);
    }

    /// Takes the flow out of our map.
    pub(super) fn delete(&mut self) {
        let Table::Own(maps) = self.table else {
            return;
        };
        let code = &mut self.body.code;
        code.load_imm64(Reg::R1, Imm64::Map(maps.flows));
        code.load(Size::D, Reg::R2, Reg::R10, stack::QUESTION);
        code.call(Helper::MapDeleteElem);
    }

    /// Locks or unlocks the flow.
    pub(super) fn lock(&mut self, helper: Helper) {
        if let Table::Kernel(_) = self.table {
            return;
        }
        self.body.code.mov(Reg::R1, LOCK);
        self.body.code.call(helper);
    }

    /// A flow that the packet begins, on the stack.
    pub(super) fn fresh(&mut self, class: Place) {
        let (labels, segment, now) = (self.labels, self.segment, self.now);
        let association = self.association;
        let tick_rate = self.tick_rate;
        let code = &mut self.body.code;
        code.store(Size::D, Reg::R10, stack::IS_NEW, 1);
        for word in (0..layout::SIZE).step_by(8) {
            code.store(Size::D, Reg::R10, stack::FLOW + word, 0);
        }
        code.mov(FLOW, Reg::R10);
        code.alu(Alu::Add, FLOW, i32::from(stack::FLOW));
        self.script()
            .branch(&class.is(Class::Error as u32), true, labels.invalid);
        self.question();
        let is_answer = in_question(question::IS_ANSWER).is(1);
        self.script().branch(&is_answer, true, labels.invalid);
        let code = &mut self.body.code;
        code.load(Size::D, Reg::R1, Reg::R10, stack::QUESTION);
        code.load(Size::B, Reg::R1, Reg::R1, question::FORWARD);
        code.alu(Alu::Xor, Reg::R1, 1);
        code.store(Size::B, FLOW, layout::BACKWARDS, Reg::R1);
        let mut script = self.script();
        script.when(class.is(Class::Tcp as u32), |script| {
            tcp::begin(script, &segment, labels.invalid);
        });
        script.when(class.is(Class::Sctp as u32), |script| {
            sctp::begin(script, &association, labels.invalid);
        });
        script.when(class.is(Class::Udp as u32), |script| {
            let ticks = UDP_STREAM_AFTER.wrapping_mul(tick_rate);
            script.set(Place::word(FLOW, layout::STREAM_FROM), now + ticks);
        });
        self.lock(Helper::SpinLock);
    }
}
