//! The function of a rule.
//!
//! A list has a head, by the rule and the masked address, and records, which have the same key with a number
//! from 0 on behind it. A head says how many records there are. Both change only under the lock of the
//! address, and only as far as they are still what they were when they were looked up.

use super::{CountConnections, GROWTH, LISTS, NONE, RECORDS};
use crate::asm::{Alu, Code, Cond, FunctionId, Helper, Imm64, Label, MapId, Reg, Size};
use crate::emit::link::{Body, Call, Linker, PACKET};
use crate::field::{Field, layout as packet_layout};
use crate::module::{HashShape, MapKind};
use crate::track::code::{ask, question};
use crate::track::resolve::{Class, protocol};
use crate::track::tcp::{GONE, State};
use crate::track::{Key, LOCKS, layout, status};

/// The maps of heads and of records.
const HEADS_MAP: &str = "cl_heads";
const RECORDS_MAP: &str = "cl_records";

/// Where things lie in a head: `u32` each.
mod head {
    /// How many records there are.
    pub const COUNT: i16 = 0;
    /// The tick of the last search.
    pub const SEARCHED: i16 = 4;
    /// How many records were left behind it.
    pub const LEFT: i16 = 8;
    pub const SIZE: i16 = 16;
}

/// Where things lie in a record, behind the key of its connection.
mod record {
    use crate::track::Key;

    /// The tick at which it was entered: `u32`.
    pub const SINCE: i16 = Key::SIZE as i16;
    /// The processor that entered it: `u16`.
    pub const PROCESSOR: i16 = SINCE + 4;
    /// 1 when the connection begins at the key's first end: `u8`.
    pub const FORWARD: i16 = PROCESSOR + 2;
    pub const SIZE: i16 = PROCESSOR + 4;
}

/// What the function shares with the rounds of its search, on its stack; the packet's question, which
/// becomes its record, lies behind it.
mod shared {
    /// The masked address, the rule and the number of the match: the key of the head.
    pub const KEY: i16 = 0;
    pub const RULE: i16 = KEY + 16;
    pub const INDEX: i16 = RULE + 4;
    pub const HEAD_KEY_SIZE: i16 = INDEX + 4;
    /// With the number of a record: its key.
    pub const NUMBER: i16 = HEAD_KEY_SIZE;
    pub const RECORD_KEY_SIZE: i16 = NUMBER + 4;
    /// The number of the record in work: `u32`.
    pub const AT: i16 = 28;
    pub const HEAD: i16 = 32;
    /// A record that is not the one in work.
    pub const LAST: i16 = 40;
    pub const LOCK: i16 = 48;
    /// `u32` each.
    pub const NOW: i16 = 56;
    pub const PROCESSOR: i16 = 60;
    /// 1 when the packet's connection is to be entered.
    pub const ADDS: i16 = 64;
    /// 1 when it is there.
    pub const KNOWN: i16 = 68;
    /// The packet's record.
    pub const RECORD: i16 = 72;
}

/// Where things lie on the stack.
mod stack {
    use super::{ask, shared};

    pub const SHARED: i16 = ask::QUESTION - shared::RECORD;
    /// `u32` each.
    pub const LIMIT: i16 = SHARED - 4;
    pub const CONFIRMED: i16 = SHARED - 8;
    /// A head that is new, before there is a pointer to it and to a record.
    pub const HEAD: i16 = SHARED + shared::HEAD;
    /// The number of a lock, before any record is looked at.
    pub const LOCK: i16 = SHARED + shared::AT;
    /// See [`shared::LAST`].
    pub const RECORD: i16 = SHARED + shared::LAST;
}

/// What is shared, in a round.
const SHARED: Reg = Reg::R6;
/// The head.
const HEAD: Reg = Reg::R9;
/// A record.
const RECORD: Reg = Reg::R7;

/// `BPF_NOEXIST` of include/uapi/linux/bpf.h.
const NO_EXIST: i32 = 1;
/// How often a record is entered anew when another processor has taken its number.
const TRIES: usize = 3;

#[derive(Clone, Copy)]
struct Maps {
    heads: MapId,
    records: MapId,
    flows: MapId,
    locks: MapId,
}

pub fn link(rule: &CountConnections, linker: &mut Linker<'_>) -> Call {
    let shape = |key: i16, bytes: i16, entries| {
        MapKind::Hash(HashShape {
            key: key as u32,
            bytes: bytes as u32,
            entries,
            evicts: true,
            locked: false,
        })
    };
    let maps = Maps {
        heads: linker.map(HEADS_MAP, shape(shared::HEAD_KEY_SIZE, head::SIZE, LISTS)),
        records: linker.map(
            RECORDS_MAP,
            shape(shared::RECORD_KEY_SIZE, record::SIZE, RECORDS),
        ),
        flows: linker.flows(),
        locks: linker.locks(),
    };
    let resolve = linker.resolve();
    let round = linker.callback("connlimit_round", |code| search_round(code, maps));
    let function = linker.function("connlimit", 3, |body| {
        let none = body.code.label();
        let mut writer = Writer {
            rule,
            maps,
            none,
            body,
        };
        writer.count(resolve, round);
        writer.body.code.bind(none);
        writer.body.answer(NONE as i32);
    });
    Call {
        function,
        arguments: vec![rule.place.rule.0, rule.place.index.into(), rule.limit],
    }
}

struct Writer<'a, 'b> {
    rule: &'a CountConnections,
    maps: Maps,
    /// Where the answer is [`NONE`].
    none: Label,
    body: &'b mut Body,
}

impl Writer<'_, '_> {
    fn code(&mut self) -> &mut Code {
        &mut self.body.code
    }

    /// A `u32` of what is shared, from or to a register.
    fn load(&mut self, register: Reg, offset: i16) {
        self.code()
            .load(Size::W, register, Reg::R10, stack::SHARED + offset);
    }

    fn store(&mut self, offset: i16, register: Reg) {
        self.code()
            .store(Size::W, Reg::R10, stack::SHARED + offset, register);
    }

    fn count(&mut self, resolve: FunctionId, round: FunctionId) {
        let none = self.none;
        self.store(shared::RULE, Reg::R3);
        self.store(shared::INDEX, Reg::R4);
        self.code().store(Size::W, Reg::R10, stack::LIMIT, Reg::R5);
        self.address();
        ask::question(self.body, resolve);
        let code = self.code();
        code.call(Helper::Jiffies64);
        code.store(Size::W, Reg::R10, stack::SHARED + shared::NOW, Reg::R0);
        self.body.field(Reg::R1, Field::Processor);
        self.store(shared::PROCESSOR, Reg::R1);
        self.confirmed();
        self.load(Reg::R1, shared::NOW);
        self.store(shared::RECORD + record::SINCE, Reg::R1);
        self.load(Reg::R1, shared::PROCESSOR);
        let place = ask::QUESTION + record::PROCESSOR;
        self.code().store(Size::H, Reg::R10, place, Reg::R1);
        self.lock_of_address();

        let [absent, enter, search, counted, done] = [(); 5].map(|()| self.code().label());
        self.body.look_up(self.maps.heads, stack::SHARED, absent);
        let code = self.code();
        code.mov(HEAD, Reg::R0);
        code.store(Size::D, Reg::R10, stack::SHARED + shared::HEAD, HEAD);
        self.decide(search, enter, counted);
        let code = self.code();
        code.bind(search);
        self.search(round);
        self.load(Reg::R1, shared::KNOWN);
        self.code().branch(Cond::Ne, Reg::R1, 0, counted);
        self.load(Reg::R1, shared::NOW);
        let code = self.code();
        code.store(Size::W, HEAD, head::SEARCHED, Reg::R1);
        code.load(Size::W, Reg::R1, HEAD, head::COUNT);
        code.store(Size::W, HEAD, head::LEFT, Reg::R1);
        self.load(Reg::R1, shared::ADDS);
        self.code().branch(Cond::Eq, Reg::R1, 0, counted);
        self.code().jump(enter);

        self.code().bind(absent);
        self.begin();
        self.code().bind(enter);
        for _ in 0..TRIES {
            self.enter(counted);
        }
        self.code().bind(counted);
        let code = self.code();
        code.load(Size::W, Reg::R1, HEAD, head::COUNT);
        code.branch(Cond::Eq, Reg::R1, 0, none);
        code.load(Size::W, Reg::R2, Reg::R10, stack::LIMIT);
        code.mov(Reg::R0, 0);
        code.branch(Cond::Le, Reg::R1, Reg::R2, done);
        code.mov(Reg::R0, 1);
        code.bind(done);
        self.body.answer(Reg::R0);
    }

    /// The masked address, which begins the keys.
    fn address(&mut self) {
        let (field, mask) = (self.rule.address().place(), self.rule.mask.to_be_bytes());
        let (first, second) = (stack::SHARED, stack::SHARED + 8);
        let code = self.code();
        if field.size == 4 {
            let word = u32::from_le_bytes([mask[12], mask[13], mask[14], mask[15]]);
            code.load(Size::W, Reg::R1, PACKET, field.offset);
            code.alu32(Alu::And, Reg::R1, word as i32);
            code.store(Size::D, Reg::R10, first, Reg::R1);
            code.store(Size::D, Reg::R10, second, 0);
            return;
        }
        let (halves, _) = mask.as_chunks::<8>();
        for ((to, offset), half) in [(first, 0), (second, 8)].into_iter().zip(halves) {
            code.load(Size::D, Reg::R1, PACKET, field.offset + offset);
            code.load_imm64(Reg::R2, Imm64::Number(u64::from_le_bytes(*half)));
            code.alu(Alu::And, Reg::R1, Reg::R2);
            code.store(Size::D, Reg::R10, to, Reg::R1);
        }
    }

    /// Finds out whether the packet's connection is in the table and assured, and clears the key of a packet
    /// that can have none.
    fn confirmed(&mut self) {
        const CONFIRMED: Reg = Reg::R8;
        const STATUS: Reg = Reg::R9;
        const CLASS: Reg = Reg::R1;
        const FORWARD: Reg = Reg::R2;
        let (none, flows) = (self.none, self.maps.flows);
        let [apart, invalid, nameless, found, done] = [(); 5].map(|()| self.code().label());
        let (forward, place) = (question::FORWARD, ask::QUESTION + record::FORWARD);
        let code = self.code();
        code.load(Size::B, FORWARD, Reg::R10, ask::QUESTION + forward);
        code.store(Size::B, Reg::R10, place, FORWARD);
        ask::connected(self.body, apart);
        self.body.field(Reg::R1, Field::CtDirection);
        self.code().alu(Alu::Xor, FORWARD, Reg::R1);
        self.code().store(Size::B, Reg::R10, place, FORWARD);
        self.body.field(STATUS, Field::CtStatus);
        let code = self.code();
        code.load(Size::B, CONFIRMED, PACKET, packet_layout::UNCONFIRMED);
        code.alu(Alu::Xor, CONFIRMED, 1);
        code.jump(done);

        code.bind(apart);
        code.mov(CONFIRMED, 0);
        code.mov(STATUS, 0);
        code.load(Size::B, CLASS, Reg::R10, ask::QUESTION + question::CLASS);
        code.branch(Cond::Eq, CLASS, Class::Invalid as i32, invalid);
        code.branch(Cond::Eq, CLASS, Class::Untracked as i32, nameless);
        code.branch(Cond::Eq, CLASS, Class::Error as i32, nameless);
        ask::flow(self.body, flows, done);
        self.load(Reg::R1, shared::NOW);
        lives(self.code(), found, done);
        let code = self.code();
        code.bind(found);
        code.load(Size::B, STATUS, Reg::R0, layout::STATUS);
        code.mov(CONFIRMED, 1);
        code.jump(done);

        code.bind(invalid);
        self.has_name(none);
        let code = self.code();
        code.bind(nameless);
        for offset in (0..Key::SIZE as i16).step_by(8) {
            code.store(Size::D, Reg::R10, ask::QUESTION + offset, 0);
        }
        code.store(Size::B, Reg::R10, place, 0);
        code.bind(done);
        code.store(Size::W, Reg::R10, stack::CONFIRMED, CONFIRMED);
        let enters = code.label();
        code.mov(Reg::R1, 1);
        code.alu(Alu::And, STATUS, i32::from(status::ASSURED));
        code.branch(Cond::Eq, STATUS, 0, enters);
        code.mov(Reg::R1, 0);
        code.bind(enters);
        code.store(Size::W, Reg::R10, stack::SHARED + shared::ADDS, Reg::R1);
    }

    /// What [`super::list`] says of it; goes to `none` without.
    fn has_name(&mut self, none: Label) {
        for field in [Field::BrokenHeaders, Field::FragmentOffset] {
            self.body.field(Reg::R1, field);
            self.code().branch(Cond::Ne, Reg::R1, 0, none);
        }
        self.body.field(Reg::R1, Field::Protocol);
        self.body.field(Reg::R2, Field::TransportLength);
        let code = self.code();
        let [ports, query, named] = [(); 3].map(|()| code.label());
        code.branch(Cond::Eq, Reg::R1, i32::from(protocol::UDPLITE), ports);
        code.branch(Cond::Eq, Reg::R1, i32::from(protocol::ICMP), query);
        code.branch(Cond::Ne, Reg::R1, i32::from(protocol::ICMP6), none);
        code.bind(query);
        code.branch(Cond::Lt, Reg::R2, 8, none);
        code.jump(named);
        code.bind(ports);
        code.branch(Cond::Lt, Reg::R2, 4, none);
        code.bind(named);
    }

    /// Finds the lock of the address.
    fn lock_of_address(&mut self) {
        let (none, locks) = (self.none, self.maps.locks);
        let code = self.code();
        code.mov(Reg::R2, 0);
        for word in (0..16).step_by(4) {
            code.load(Size::W, Reg::R3, Reg::R10, stack::SHARED + word);
            code.alu32(Alu::Add, Reg::R2, Reg::R3);
            code.alu32(Alu::Mul, Reg::R2, 0x9e37_79b1u32 as i32);
        }
        code.alu32(Alu::Rsh, Reg::R2, 32 - LOCKS.ilog2() as i32);
        code.store(Size::W, Reg::R10, stack::LOCK, Reg::R2);
        self.body.look_up(locks, stack::LOCK, none);
        self.code()
            .store(Size::D, Reg::R10, stack::SHARED + shared::LOCK, Reg::R0);
    }

    /// Whether the list is searched, whether the packet's connection enters it without, or neither.
    fn decide(&mut self, search: Label, enter: Label, counted: Label) {
        let lately = self.code().label();
        self.load(Reg::R1, shared::NOW);
        let code = self.code();
        code.load(Size::W, Reg::R2, HEAD, head::SEARCHED);
        code.branch(Cond::Ne, Reg::R1, Reg::R2, search);
        code.load(Size::W, Reg::R1, HEAD, head::COUNT);
        code.load(Size::W, Reg::R2, HEAD, head::LEFT);
        code.alu32(Alu::Sub, Reg::R1, Reg::R2);
        code.branch(Cond::Lt, Reg::R1, GROWTH as i32, lately);
        code.jump(search);
        code.bind(lately);
        self.load(Reg::R1, shared::ADDS);
        let code = self.code();
        code.branch(Cond::Eq, Reg::R1, 0, counted);
        code.load(Size::W, Reg::R1, Reg::R10, stack::CONFIRMED);
        // It is always looked whether a connection is there that may be.
        code.branch(Cond::Eq, Reg::R1, 0, enter);
    }

    /// Looks through the records.
    fn search(&mut self, round: FunctionId) {
        let code = self.code();
        code.store(Size::W, Reg::R10, stack::SHARED + shared::AT, 0);
        code.store(Size::W, Reg::R10, stack::SHARED + shared::KNOWN, 0);
        code.load(Size::W, Reg::R1, HEAD, head::COUNT);
        code.load_imm64(Reg::R2, Imm64::Function(round));
        self.body.stack(Reg::R3, stack::SHARED);
        let code = self.code();
        code.mov(Reg::R4, 0);
        code.call(Helper::Loop);
    }

    /// A head for an address that has none.
    fn begin(&mut self) {
        let (none, heads) = (self.none, self.maps.heads);
        self.load(Reg::R1, shared::NOW);
        let code = self.code();
        code.store(Size::D, Reg::R10, stack::HEAD, 0);
        code.store(Size::D, Reg::R10, stack::HEAD + 8, 0);
        code.store(Size::W, Reg::R10, stack::HEAD + head::SEARCHED, Reg::R1);
        code.load_imm64(Reg::R1, Imm64::Map(heads));
        self.body.stack(Reg::R2, stack::SHARED);
        self.body.stack(Reg::R3, stack::HEAD);
        let code = self.code();
        code.mov(Reg::R4, NO_EXIST);
        code.call(Helper::MapUpdateElem);
        self.body.look_up(heads, stack::SHARED, none);
        let code = self.code();
        code.mov(HEAD, Reg::R0);
        code.store(Size::D, Reg::R10, stack::SHARED + shared::HEAD, HEAD);
    }

    /// Makes the packet's record the last of the list; falls through when another processor was faster.
    fn enter(&mut self, entered: Label) {
        let (none, records) = (self.none, self.maps.records);
        let taken = self.code().label();
        let code = self.code();
        code.load(Size::W, Reg::R8, HEAD, head::COUNT);
        self.store(shared::NUMBER, Reg::R8);
        self.code().load_imm64(Reg::R1, Imm64::Map(records));
        self.body.stack(Reg::R2, stack::SHARED);
        self.body.stack(Reg::R3, ask::QUESTION);
        let code = self.code();
        code.mov(Reg::R4, NO_EXIST);
        code.call(Helper::MapUpdateElem);
        self.body.look_up(records, stack::SHARED, none);
        let code = self.code();
        code.store(Size::D, Reg::R10, stack::RECORD, Reg::R0);
        code.load(Size::D, Reg::R1, Reg::R10, stack::SHARED + shared::LOCK);
        code.call(Helper::SpinLock);
        code.load(Size::W, Reg::R1, HEAD, head::COUNT);
        code.branch(Cond::Ne, Reg::R1, Reg::R8, taken);
        code.load(Size::D, Reg::R2, Reg::R10, stack::RECORD);
        for offset in (0..record::SIZE).step_by(8) {
            code.load(Size::D, Reg::R3, Reg::R10, ask::QUESTION + offset);
            code.store(Size::D, Reg::R2, offset, Reg::R3);
        }
        code.alu(Alu::Add, Reg::R1, 1);
        code.store(Size::W, HEAD, head::COUNT, Reg::R1);
        code.load(Size::D, Reg::R1, Reg::R10, stack::SHARED + shared::LOCK);
        code.call(Helper::SpinUnlock);
        code.jump(entered);
        code.bind(taken);
        code.load(Size::D, Reg::R1, Reg::R10, stack::SHARED + shared::LOCK);
        code.call(Helper::SpinUnlock);
    }
}

/// Goes to `yes` when the flow in R0 lives at the tick in R1, else to `no`.
fn lives(code: &mut Code, yes: Label, no: Label) {
    code.load(Size::W, Reg::R2, Reg::R0, layout::EXPIRES);
    code.alu32(Alu::Sub, Reg::R2, Reg::R1);
    code.branch32(Cond::Sle, Reg::R2, 0, no);
    code.load(Size::B, Reg::R2, Reg::R0, layout::TCP_STATE);
    code.branch(Cond::Eq, Reg::R2, i32::from(GONE), no);
    code.jump(yes);
}

/// A round of the search: `u64 round(number, shared)`, 1 to end it. The record in work stays, or the last
/// one takes its place.
fn search_round(code: &mut Code, maps: Maps) {
    /// How many records there are, then the number of the last.
    const COUNT: Reg = Reg::R8;
    /// A fact of the record or flow that something of the packet is compared with.
    const THEIRS: Reg = Reg::R1;
    const OURS: Reg = Reg::R2;
    let [stop, lost, found, absent, gone, same, stays, next] = [(); 8].map(|()| code.label());
    code.mov(SHARED, Reg::R2);
    code.load(Size::D, HEAD, SHARED, shared::HEAD);
    code.load(Size::W, COUNT, HEAD, head::COUNT);
    code.load(Size::W, Reg::R1, SHARED, shared::AT);
    code.branch(Cond::Ge, Reg::R1, COUNT, stop);
    code.store(Size::W, SHARED, shared::NUMBER, Reg::R1);
    record_of_number(code, maps);
    code.mov(RECORD, Reg::R0);
    code.branch(Cond::Eq, RECORD, 0, lost);
    code.load_imm64(Reg::R1, Imm64::Map(maps.flows));
    code.mov(Reg::R2, RECORD);
    code.call(Helper::MapLookupElem);
    code.branch(Cond::Eq, Reg::R0, 0, absent);
    code.load(Size::W, Reg::R1, SHARED, shared::NOW);
    lives(code, found, absent);

    code.bind(found);
    is_packets(code, same);
    code.load(Size::B, THEIRS, Reg::R0, layout::TCP_STATE);
    for closed in [State::TimeWait, State::Close] {
        code.branch(Cond::Eq, THEIRS, closed as i32, gone);
    }
    code.jump(stays);

    code.bind(absent);
    // Another processor may be about to confirm it.
    code.load(Size::H, THEIRS, RECORD, record::PROCESSOR);
    code.load(Size::W, OURS, SHARED, shared::PROCESSOR);
    code.branch(Cond::Eq, THEIRS, OURS, gone);
    code.load(Size::W, THEIRS, RECORD, record::SINCE);
    code.load(Size::W, OURS, SHARED, shared::NOW);
    code.alu32(Alu::Sub, OURS, THEIRS);
    code.branch(Cond::Ge, OURS, 2, gone);
    is_packets(code, same);
    code.bind(stays);
    code.load(Size::W, Reg::R1, SHARED, shared::AT);
    code.alu(Alu::Add, Reg::R1, 1);
    code.store(Size::W, SHARED, shared::AT, Reg::R1);
    code.jump(next);

    code.bind(same);
    code.store(Size::W, SHARED, shared::KNOWN, 1);
    code.bind(stop);
    code.mov(Reg::R0, 1);
    code.exit();

    code.bind(lost);
    code.bind(gone);
    take_out(code, maps);
    code.bind(next);
    code.mov(Reg::R0, 0);
    code.exit();
}

/// `r0 = record of the shared key, or null`
fn record_of_number(code: &mut Code, maps: Maps) {
    code.load_imm64(Reg::R1, Imm64::Map(maps.records));
    code.mov(Reg::R2, SHARED);
    code.call(Helper::MapLookupElem);
}

/// Goes to `same` when the packet would enter its connection and the record is of that.
fn is_packets(code: &mut Code, same: Label) {
    let other = code.label();
    code.load(Size::W, Reg::R1, SHARED, shared::ADDS);
    code.branch(Cond::Eq, Reg::R1, 0, other);
    for offset in (0..Key::SIZE as i16).step_by(8) {
        code.load(Size::D, Reg::R1, RECORD, offset);
        code.load(Size::D, Reg::R2, SHARED, shared::RECORD + offset);
        code.branch(Cond::Ne, Reg::R1, Reg::R2, other);
    }
    code.load(Size::B, Reg::R1, RECORD, record::FORWARD);
    code.load(Size::B, Reg::R2, SHARED, shared::RECORD + record::FORWARD);
    code.branch(Cond::Eq, Reg::R1, Reg::R2, same);
    code.bind(other);
}

/// Puts the last record, if the map has it, in the place of the one in work, which the map may lack; nothing
/// is done when the number of records in R8 has changed.
fn take_out(code: &mut Code, maps: Maps) {
    const COUNT: Reg = Reg::R8;
    let [shrink, replace, copied, changed] = [(); 4].map(|()| code.label());
    code.alu(Alu::Sub, COUNT, 1);
    code.store(Size::W, SHARED, shared::NUMBER, COUNT);
    record_of_number(code, maps);
    code.branch(Cond::Ne, Reg::R0, 0, replace);
    // A record takes its own place then.
    code.mov(Reg::R0, RECORD);
    code.bind(replace);
    code.branch(Cond::Ne, RECORD, 0, shrink);
    code.branch(Cond::Eq, Reg::R0, 0, shrink);
    code.load(Size::W, Reg::R1, SHARED, shared::AT);
    code.store(Size::W, SHARED, shared::NUMBER, Reg::R1);
    code.mov(Reg::R3, Reg::R0);
    code.load_imm64(Reg::R1, Imm64::Map(maps.records));
    code.mov(Reg::R2, SHARED);
    code.mov(Reg::R4, NO_EXIST);
    code.call(Helper::MapUpdateElem);
    code.mov(Reg::R0, 0);

    code.bind(shrink);
    code.store(Size::D, SHARED, shared::LAST, Reg::R0);
    code.load(Size::D, Reg::R1, SHARED, shared::LOCK);
    code.call(Helper::SpinLock);
    code.mov(Reg::R2, COUNT);
    code.alu(Alu::Add, Reg::R2, 1);
    code.load(Size::W, Reg::R1, HEAD, head::COUNT);
    code.branch(Cond::Ne, Reg::R1, Reg::R2, changed);
    code.store(Size::W, HEAD, head::COUNT, COUNT);
    code.branch(Cond::Eq, RECORD, 0, copied);
    code.load(Size::D, Reg::R2, SHARED, shared::LAST);
    code.branch(Cond::Eq, Reg::R2, 0, copied);
    for offset in (0..record::SIZE).step_by(8) {
        code.load(Size::D, Reg::R1, Reg::R2, offset);
        code.store(Size::D, RECORD, offset, Reg::R1);
    }
    code.bind(copied);
    code.bind(changed);
    code.load(Size::D, Reg::R1, SHARED, shared::LOCK);
    code.call(Helper::SpinUnlock);
}
