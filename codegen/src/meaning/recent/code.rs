//! The function of a rule.
//!
//! A list is one value of a map: a head, and a place for each address with its number from 1 on. The places
//! in use hang together from the least to the most lately updated one, in a ring whose beginning and end is
//! place 0; those that were freed form a chain. All zero, the list is empty.

use ipt2bpf_parser::matches::recent::Check;
use ipt2bpf_parser::ruleset::Family;

use super::{ADDRESSES, Recall};
use crate::asm::{Alu, Code, Cond, Helper, Imm64, Label, Reg, Size};
use crate::emit::link::{Body, Call, Linker, PACKET};
use crate::meaning::names::map_name;
use crate::module::{MapKind, RECENT_MAPS};

/// Where things lie in the value.
mod value {
    /// How many places have ever been used: `u8`.
    pub const USED: i16 = 8;
    /// The first freed place, or 0: `u8`. Its `NEXT` is the one after it.
    pub const FREED: i16 = 9;
    /// Place 0.
    pub const PLACES: i16 = 16;
}

/// Where things lie in a place.
mod place {
    /// The address as in the packet, IPv4's in the first four bytes.
    pub const ADDRESS: i16 = 0;
    /// 1 in use: `u8`.
    pub const HELD: i16 = 16;
    /// `u8`
    pub const TTL: i16 = 17;
    /// The place updated before: `u8`.
    pub const PREVIOUS: i16 = 18;
    /// The place updated after: `u8`.
    pub const NEXT: i16 = 19;
    /// Behind the latest stamp, from 1 to the number of stamps: `u16`.
    pub const INDEX: i16 = 20;
    /// How many stamps there are: `u16`.
    pub const COUNT: i16 = 22;
    /// A ring of `u64`, in ticks.
    pub const STAMPS: i16 = 24;
}

/// Where things lie on the stack.
mod stack {
    pub const NOW: i16 = -8;
    /// The address in two halves.
    pub const ADDRESS: i16 = -24;
    /// The key of the only value.
    pub const ZERO: i16 = -28;
    pub const TTL: i16 = -32;
    /// What is stored here is unknown to the verifier when it is read: it is off an 8-byte boundary.
    pub const UNKNOWN: i16 = -36;
}

/// The list, locked.
const LIST: Reg = Reg::R6;
/// The answer.
const ANSWER: Reg = Reg::R7;
/// The place of the address, by number and by address.
const FOUND: Place = Place {
    number: Reg::R8,
    address: Reg::R9,
};
/// The least lately updated place.
const OLDEST: Place = Place {
    number: Reg::R4,
    address: Reg::R5,
};

/// A place in registers.
#[derive(Clone, Copy)]
struct Place {
    number: Reg,
    address: Reg,
}

pub fn link(rule: &Recall, linker: &mut Linker<'_>) -> Call {
    let size = i32::from(place::STAMPS) + 8 * rule.stamps as i32;
    let map = linker.map(
        &map_name(RECENT_MAPS, &rule.name),
        MapKind::State {
            entries: 1,
            bytes: (value::PLACES - 8) as u32 + (ADDRESSES as u32 + 1) * size as u32,
        },
    );
    let function = linker.function("recent", 0, |body| {
        let none = body.code.label();
        body.code.mov(Reg::R8, rule.ttl_offset() as i32);
        body.bytes(Reg::R8, 1, stack::TTL, none);
        address(rule, &mut body.code);
        body.code.call(Helper::Jiffies64);
        body.code.store(Size::D, Reg::R10, stack::NOW, Reg::R0);
        body.code.store(Size::W, Reg::R10, stack::ZERO, 0);
        body.look_up(map, stack::ZERO, none);
        body.code.mov(LIST, Reg::R0);
        body.lock(LIST);
        let done = body.code.label();
        let mut writer = Writer {
            rule,
            size,
            done,
            body,
        };
        writer.ask();
        body.code.bind(done);
        body.unlock(LIST);
        body.answer(ANSWER);
        body.code.bind(none);
        body.answer(0);
    });
    Call {
        function,
        arguments: Vec::new(),
    }
}

/// The masked address onto the stack.
fn address(rule: &Recall, code: &mut Code) {
    let field = rule.address().place();
    let mask = rule.mask.to_be_bytes();
    let (first, second) = (stack::ADDRESS, stack::ADDRESS + 8);
    match rule.family {
        Family::V4 => {
            let word = u32::from_le_bytes([mask[12], mask[13], mask[14], mask[15]]);
            code.load(Size::W, Reg::R1, PACKET, field.offset);
            code.alu32(Alu::And, Reg::R1, word as i32);
            code.store(Size::D, Reg::R10, first, Reg::R1);
            code.store(Size::D, Reg::R10, second, 0);
        }
        Family::V6 => {
            for (to, (offset, half)) in [first, second]
                .into_iter()
                .zip([0, 8].into_iter().zip(mask.as_chunks::<8>().0))
            {
                code.load(Size::D, Reg::R1, PACKET, field.offset + offset);
                code.load_imm64(Reg::R2, Imm64::Number(u64::from_le_bytes(*half)));
                code.alu(Alu::And, Reg::R1, Reg::R2);
                code.store(Size::D, Reg::R10, to, Reg::R1);
            }
        }
    }
}

struct Writer<'a, 'b> {
    rule: &'a Recall,
    /// Bytes of a place.
    size: i32,
    /// Where the list is unlocked and [`ANSWER`] given.
    done: Label,
    body: &'b mut Body,
}

impl Writer<'_, '_> {
    fn code(&mut self) -> &mut Code {
        &mut self.body.code
    }

    fn ask(&mut self) {
        let done = self.done;
        let [absent, update, stamp] = [(); 3].map(|()| self.code().label());
        self.code().mov(ANSWER, 0);
        self.find(absent);
        match self.rule.check {
            Check::Set => {
                self.code().mov(ANSWER, 1);
                self.code().jump(update);
                self.code().bind(absent);
                self.code().mov(ANSWER, 1);
                self.make(stamp);
            }
            Check::Remove => {
                self.code().mov(ANSWER, 1);
                self.take_out(FOUND);
                self.free(FOUND);
                self.code().bind(absent);
                return;
            }
            Check::Rcheck | Check::Update => {
                self.judge(absent);
                if self.rule.reap {
                    self.reap();
                }
                if self.rule.check == Check::Update {
                    let holds = i32::from(!self.rule.negated);
                    self.code().branch(Cond::Ne, ANSWER, holds, done);
                    self.code().bind(update);
                    self.update(stamp);
                }
                self.code().bind(absent);
                return;
            }
        }
        self.code().bind(update);
        self.update(stamp);
    }

    /// `to = address of the place of a number`. There is none above [`ADDRESSES`]; the verifier wants to
    /// see it.
    fn address_of(&mut self, number: Reg, to: Reg) {
        let (size, done) = (self.size, self.done);
        let code = self.code();
        code.branch(Cond::Gt, number, ADDRESSES as i32, done);
        code.mov(to, number);
        code.alu(Alu::Mul, to, size);
        code.alu(Alu::Add, to, LIST);
        code.alu(Alu::Add, to, i32::from(value::PLACES));
    }

    /// Looks for the address among the places.
    fn find(&mut self, absent: Label) {
        let size = self.size;
        let Place { number, address } = FOUND;
        let code = self.code();
        let [again, next, found] = [(); 3].map(|()| code.label());
        code.load(Size::D, Reg::R1, Reg::R10, stack::ADDRESS);
        code.load(Size::D, Reg::R2, Reg::R10, stack::ADDRESS + 8);
        code.load(Size::B, Reg::R4, LIST, value::USED);
        code.mov(number, 0);
        code.mov(address, LIST);
        code.alu(Alu::Add, address, i32::from(value::PLACES));
        code.bind(again);
        code.alu(Alu::Add, number, 1);
        code.branch(Cond::Gt, number, Reg::R4, absent);
        code.alu(Alu::Add, address, size);
        code.load(Size::D, Reg::R3, address, place::ADDRESS);
        code.branch(Cond::Ne, Reg::R3, Reg::R1, next);
        code.load(Size::D, Reg::R3, address, place::ADDRESS + 8);
        code.branch(Cond::Ne, Reg::R3, Reg::R2, next);
        code.load(Size::B, Reg::R3, address, place::HELD);
        code.branch(Cond::Ne, Reg::R3, 0, found);
        code.bind(next);
        code.branch(Cond::Lt, number, ADDRESSES as i32, again);
        code.jump(absent);
        code.bind(found);
        // All ways out of the loop look the same to the verifier then.
        code.store(Size::W, Reg::R10, stack::UNKNOWN, number);
        code.load(Size::W, number, Reg::R10, stack::UNKNOWN);
        self.address_of(number, address);
    }

    /// A place for a new address: a freed one, one that was never used, or the least lately updated.
    fn make(&mut self, stamp: Label) {
        let Place { number, address } = FOUND;
        let [unused, oldest, ready] = [(); 3].map(|()| self.code().label());
        let code = self.code();
        code.load(Size::B, number, LIST, value::FREED);
        code.branch(Cond::Eq, number, 0, unused);
        self.address_of(number, address);
        let code = self.code();
        code.load(Size::B, Reg::R1, address, place::NEXT);
        code.store(Size::B, LIST, value::FREED, Reg::R1);
        code.jump(ready);

        code.bind(unused);
        code.load(Size::B, number, LIST, value::USED);
        code.branch(Cond::Ge, number, ADDRESSES as i32, oldest);
        code.alu(Alu::Add, number, 1);
        code.store(Size::B, LIST, value::USED, number);
        self.address_of(number, address);
        self.code().jump(ready);

        self.code().bind(oldest);
        self.load_oldest(FOUND);
        self.take_out(FOUND);

        let code = self.code();
        code.bind(ready);
        for half in [0, 8] {
            code.load(Size::D, Reg::R1, Reg::R10, stack::ADDRESS + half);
            code.store(Size::D, address, place::ADDRESS + half, Reg::R1);
        }
        code.store(Size::B, address, place::HELD, 1);
        code.store(Size::H, address, place::INDEX, 0);
        code.store(Size::H, address, place::COUNT, 0);
        code.jump(stamp);
    }

    /// The place that follows place 0; goes to the end when there is none.
    fn load_oldest(&mut self, to: Place) {
        let done = self.done;
        let code = self.code();
        code.load(Size::B, to.number, LIST, value::PLACES + place::NEXT);
        code.branch(Cond::Eq, to.number, 0, done);
        self.address_of(to.number, to.address);
    }

    /// Takes a place out of the ring.
    fn take_out(&mut self, it: Place) {
        let code = self.code();
        code.load(Size::B, Reg::R1, it.address, place::PREVIOUS);
        code.load(Size::B, Reg::R2, it.address, place::NEXT);
        self.address_of(Reg::R1, Reg::R3);
        self.code().store(Size::B, Reg::R3, place::NEXT, Reg::R2);
        self.address_of(Reg::R2, Reg::R3);
        self.code()
            .store(Size::B, Reg::R3, place::PREVIOUS, Reg::R1);
    }

    /// Puts a place among the freed ones.
    fn free(&mut self, it: Place) {
        let code = self.code();
        code.store(Size::B, it.address, place::HELD, 0);
        code.load(Size::B, Reg::R1, LIST, value::FREED);
        code.store(Size::B, it.address, place::NEXT, Reg::R1);
        code.store(Size::B, LIST, value::FREED, it.number);
    }

    /// `recent_entry_update`; at `stamp`, of a place that is not in the ring.
    fn update(&mut self, stamp: Label) {
        self.take_out(FOUND);
        self.code().bind(stamp);
        let Place { number, address } = FOUND;
        let code = self.code();
        code.load(Size::B, Reg::R1, LIST, value::PLACES + place::PREVIOUS);
        code.store(Size::B, address, place::PREVIOUS, Reg::R1);
        code.store(Size::B, address, place::NEXT, 0);
        code.store(Size::B, LIST, value::PLACES + place::PREVIOUS, number);
        self.address_of(Reg::R1, Reg::R3);
        let mask = self.rule.stamps as i32 - 1;
        let code = self.code();
        code.store(Size::B, Reg::R3, place::NEXT, number);
        let (index, at) = (Reg::R1, Reg::R2);
        code.load(Size::H, index, address, place::INDEX);
        code.alu(Alu::And, index, mask);
        code.mov(at, index);
        code.alu(Alu::Lsh, at, 3);
        code.alu(Alu::Add, at, address);
        code.load(Size::D, Reg::R3, Reg::R10, stack::NOW);
        code.store(Size::D, at, place::STAMPS, Reg::R3);
        code.alu(Alu::Add, index, 1);
        code.store(Size::H, address, place::INDEX, index);
        code.load(Size::H, Reg::R2, address, place::COUNT);
        let counted = code.label();
        code.branch(Cond::Le, index, Reg::R2, counted);
        code.store(Size::H, address, place::COUNT, index);
        code.bind(counted);
        code.load(Size::B, Reg::R1, Reg::R10, stack::TTL);
        code.store(Size::B, address, place::TTL, Reg::R1);
    }

    /// Whether the address was seen often enough of late. Stamps rise along the ring, so the one that is
    /// as many back as there must be hits tells for all.
    fn judge(&mut self, absent: Label) {
        let rule = self.rule;
        let address = FOUND.address;
        let judged = self.code().label();
        if rule.ttl {
            let code = self.code();
            let same = code.label();
            code.load(Size::B, Reg::R1, Reg::R10, stack::TTL);
            code.load(Size::B, Reg::R2, address, place::TTL);
            code.branch(Cond::Eq, Reg::R1, 0, same);
            code.branch(Cond::Eq, Reg::R2, 0, same);
            code.branch(Cond::Ne, Reg::R1, Reg::R2, absent);
            code.bind(same);
        }
        let code = self.code();
        code.load(Size::H, Reg::R1, address, place::COUNT);
        code.branch(Cond::Lt, Reg::R1, rule.hits as i32, judged);
        if rule.ticks.is_some() {
            self.load_stamp(FOUND, rule.hits);
            self.if_stale(judged);
        }
        self.code().mov(ANSWER, 1);
        self.code().bind(judged);
    }

    /// `r1 = the stamp that is so many back, counted from 1`
    fn load_stamp(&mut self, it: Place, back: u32) {
        let mask = self.rule.stamps as i32 - 1;
        let code = self.code();
        code.load(Size::H, Reg::R1, it.address, place::INDEX);
        code.alu(Alu::Sub, Reg::R1, back as i32);
        code.alu(Alu::And, Reg::R1, mask);
        code.alu(Alu::Lsh, Reg::R1, 3);
        code.alu(Alu::Add, Reg::R1, it.address);
        code.load(Size::D, Reg::R1, Reg::R1, place::STAMPS);
    }

    /// Goes to a label when the stamp in R1 is too old.
    fn if_stale(&mut self, stale: Label) {
        let ticks = self.rule.ticks.unwrap_or(0);
        let code = self.code();
        code.load(Size::D, Reg::R2, Reg::R10, stack::NOW);
        code.load_imm64(Reg::R3, Imm64::Number(ticks.into()));
        code.alu(Alu::Sub, Reg::R2, Reg::R3);
        code.alu(Alu::Sub, Reg::R1, Reg::R2);
        code.branch(Cond::Slt, Reg::R1, 0, stale);
    }

    /// Frees the least lately updated place when it is stale. If that is the one that was found, nothing
    /// is left to do.
    fn reap(&mut self) {
        let done = self.done;
        let [stale, kept] = [(); 2].map(|()| self.code().label());
        self.load_oldest(OLDEST);
        self.load_stamp(OLDEST, 1);
        self.if_stale(stale);
        self.code().jump(kept);
        self.code().bind(stale);
        self.take_out(OLDEST);
        self.free(OLDEST);
        self.code()
            .branch(Cond::Eq, OLDEST.number, FOUND.number, done);
        self.code().bind(kept);
    }
}
