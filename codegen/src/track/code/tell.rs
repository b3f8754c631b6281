//! [`track` and `confirm`](crate::track::table) as a function of a program.

use super::question;
use super::tcp::{self, Exits, FLOW, Segment, Variables};
use crate::asm::{Alu, Cond, FunctionId, Helper, Imm64, Label, MapId, Reg, Size};
use crate::emit::link::{Body, CONTEXT, PACKET};
use crate::emit::words::{Compare, Fact, Place, Script, Word};
use crate::field::{Field, layout as packet_layout};
use crate::track::resolve::{Class, protocol};
use crate::track::tcp::{GONE, Index, MAX_RETRANSMITS, MAX_SCALE, State, VALID_FLAGS, bits, flags};
use crate::track::{Key, LOCKS, layout, state, status, timeouts};

/// The flow's lock, once it is found; before, an offset in the packet.
const LOCK: Reg = Reg::R9;
/// Where in the packet something is read.
const AT: Reg = Reg::R9;

/// What lies on the stack.
mod stack {
    use crate::track::layout;

    /// The question's address.
    pub const QUESTION: i16 = -8;
    /// 1 when the flow is new; eight bytes, so that the verifier knows it.
    pub const IS_NEW: i16 = -16;
    /// A flow that is new; before, the header in work.
    pub const FLOW: i16 = -16 - layout::SIZE;
    /// Variables lie below.
    pub const VARIABLES: i16 = FLOW;
}

/// The maps, and the function that enters a flow.
#[derive(Clone, Copy)]
pub struct Maps {
    /// [`FLOWS_MAP`](crate::track::FLOWS_MAP)
    pub flows: MapId,
    /// [`LOCKS_MAP`](crate::track::LOCKS_MAP)
    pub locks: MapId,
    /// [`enter`](super::enter)
    pub enter: FunctionId,
}

/// Writes the function's body; R3 is the question, R4 whether to commit.
pub fn track(body: &mut Body, maps: Maps, tick_rate: u32) {
    let mut writer = Writer::new(body, maps, tick_rate);
    writer.read();
    writer.find();
    writer.tell();
    writer.leave();
}

struct Writer<'a> {
    body: &'a mut Body,
    maps: Maps,
    tick_rate: u32,
    /// The offset of the next variable.
    lowest: i16,
    commit: Place,
    class: Place,
    now: Place,
    /// The tick at which the flow is forgotten; 0 leaves it as it is.
    expires: Place,
    direction: Place,
    /// The answer, in the packet.
    state: Place,
    segment: Segment,
    machine: Variables,
    labels: Labels,
}

#[derive(Clone, Copy)]
struct Labels {
    /// The packet has no connection.
    invalid: Label,
    /// All is said.
    end: Label,
    /// The packet begins a flow.
    fresh: Label,
    /// The flow is found or made, and locked.
    found: Label,
    /// The flow has been told of a packet that it takes; what remains is to date and count it.
    refresh: Label,
    /// Likewise, but it stays as it is.
    keep: Label,
    /// It does not take the packet.
    refused: Label,
    /// It was over: it makes way for a new one.
    reopened: Label,
}

fn in_question(offset: i16) -> Place {
    // Loaded behind R1.
    Place::byte(Reg::R1, offset)
}

fn packet_byte(field: Field) -> Place {
    Place::byte(PACKET, field.place().offset)
}

fn header(offset: i16) -> Place {
    Place::byte(Reg::R10, stack::FLOW + offset)
}

impl<'a> Writer<'a> {
    fn new(body: &'a mut Body, maps: Maps, tick_rate: u32) -> Self {
        body.code.store(Size::D, Reg::R10, stack::QUESTION, Reg::R3);
        let mut script = Script::new(&mut body.code, stack::VARIABLES);
        let commit = script.variable();
        script
            .code
            .store(Size::W, commit.base, commit.offset, Reg::R4);
        let class = script.bind(0);
        let now = script.variable();
        let expires = script.bind(0);
        let direction = script.bind(0);
        let segment = Segment {
            flags: script.bind(0),
            sequence: script.variable(),
            ack: script.variable(),
            sack: script.variable(),
            window: script.variable(),
            end: script.variable(),
            index: script.variable(),
            has_options: script.variable(),
            scale: script.variable(),
            offers: script.variable(),
        };
        let machine = Variables::new(&mut script);
        let lowest = script.lowest();
        let mut label = || body.code.label();
        let labels = Labels {
            invalid: label(),
            end: label(),
            fresh: label(),
            found: label(),
            refresh: label(),
            keep: label(),
            refused: label(),
            reopened: label(),
        };
        Writer {
            state: packet_byte(Field::CtState),
            body,
            maps,
            tick_rate,
            lowest,
            commit,
            class,
            now,
            expires,
            direction,
            segment,
            machine,
            labels,
        }
    }

    fn script(&mut self) -> Script<'_> {
        Script::new(&mut self.body.code, self.lowest)
    }

    /// R1 = the question
    fn question(&mut self) {
        self.body
            .code
            .load(Size::D, Reg::R1, Reg::R10, stack::QUESTION);
    }

    /// Everything that is to be known of the packet before a lock is taken.
    fn read(&mut self) {
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
        self.body
            .code
            .load(Size::H, AT, PACKET, packet_layout::TRANSPORT);
        let [tcp, udp, done] = [(); 3].map(|()| self.body.code.label());
        self.script()
            .branch(&class.is(Class::Tcp as u32), true, tcp);
        self.script()
            .branch(&class.is(Class::Udp as u32), true, udp);
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

    /// Looks the flow up, or makes a new one; either way it is locked then.
    fn find(&mut self) {
        let labels = self.labels;
        let (now, class) = (self.now, self.class);
        let lock = Place::word(Reg::R10, self.machine.new.offset);
        let code = &mut self.body.code;
        code.call(Helper::Jiffies64);
        code.store(Size::W, now.base, now.offset, Reg::R0);
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
        code.load_imm64(Reg::R1, Imm64::Map(self.maps.locks));
        self.body.stack(Reg::R2, lock.offset);
        let code = &mut self.body.code;
        code.call(Helper::MapLookupElem);
        code.branch(Cond::Eq, Reg::R0, 0, labels.invalid);
        code.mov(LOCK, Reg::R0);
        self.lookup();
        let code = &mut self.body.code;
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
        self.body.code.bind(labels.fresh);
        self.fresh(class);
        self.body.code.bind(labels.found);
    }

    /// `r0 = flow of the question's key`
    fn lookup(&mut self) {
        let flows = self.maps.flows;
        let code = &mut self.body.code;
        code.load_imm64(Reg::R1, Imm64::Map(flows));
        code.load(Size::D, Reg::R2, Reg::R10, stack::QUESTION);
        code.call(Helper::MapLookupElem);
    }

    fn delete(&mut self) {
        let flows = self.maps.flows;
        let code = &mut self.body.code;
        code.load_imm64(Reg::R1, Imm64::Map(flows));
        code.load(Size::D, Reg::R2, Reg::R10, stack::QUESTION);
        code.call(Helper::MapDeleteElem);
    }

    fn lock(&mut self, helper: Helper) {
        self.body.code.mov(Reg::R1, LOCK);
        self.body.code.call(helper);
    }

    /// A flow that the packet begins, on the stack.
    fn fresh(&mut self, class: Place) {
        let (labels, segment, now) = (self.labels, self.segment, self.now);
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
        script.when(class.is(Class::Udp as u32), |script| {
            let ticks = timeouts::UDP_STREAM_AFTER.wrapping_mul(tick_rate);
            script.set(Place::word(FLOW, layout::STREAM_FROM), now + ticks);
        });
        self.lock(Helper::SpinLock);
    }

    /// Tells the locked flow of the packet; ends unlocked.
    fn tell(&mut self) {
        let labels = self.labels;
        let (class, direction, state_place) = (self.class, self.direction, self.state);
        let flow = |offset: i16| Place::byte(FLOW, offset);
        let error = self.body.code.label();
        // direction = forward == backwards
        self.question();
        let mut script = self.script();
        script.set(
            direction,
            (in_question(question::FORWARD) ^ 1) ^ flow(layout::BACKWARDS),
        );
        script.branch(&class.is(Class::Error as u32), true, error);
        let answered = direction
            .is(1)
            .or(flow(layout::STATUS).has(u32::from(status::SEEN_REPLY)));
        script.either(
            answered,
            |script| script.set(state_place, u32::from(state::ESTABLISHED)),
            |script| script.set(state_place, u32::from(state::NEW)),
        );
        let next = self.body.code.label();
        self.script()
            .branch(&class.differs(Class::Tcp as u32), true, next);
        self.tell_tcp();
        self.body.code.bind(next);
        self.others();
        self.body.code.bind(labels.refresh);
        self.refresh();
        self.body.code.bind(labels.keep);
        let mut script = self.script();
        script.when(direction.is(1), |script| {
            let answered = flow(layout::STATUS) | u32::from(status::SEEN_REPLY);
            script.set(flow(layout::STATUS), answered);
        });
        let [told, dropped] = [(); 2].map(|()| self.body.code.label());
        self.body.code.jump(told);
        self.body.code.bind(error);
        self.script().set(state_place, u32::from(state::RELATED));
        self.body.code.bind(told);
        self.report();
        self.lock(Helper::SpinUnlock);
        self.body.code.jump(dropped);
        self.body.code.bind(labels.refused);
        self.lock(Helper::SpinUnlock);
        self.body.code.jump(labels.invalid);
        self.body.code.bind(labels.reopened);
        self.lock(Helper::SpinUnlock);
        // Only a flow that is found can be over.
        let code = &mut self.body.code;
        code.load(Size::D, Reg::R1, Reg::R10, stack::IS_NEW);
        code.branch(Cond::Ne, Reg::R1, 0, labels.invalid);
        self.delete();
        self.body.code.jump(labels.fresh);
        self.body.code.bind(dropped);
    }

    /// Copies what rules ask for into the packet.
    fn report(&mut self) {
        let direction = self.direction;
        let mut script = self.script();
        script.set(packet_byte(Field::CtDirection), direction);
        let seen = Place::byte(FLOW, layout::STATUS);
        script.set(packet_byte(Field::CtStatus), seen);
        let mark = Place::word(PACKET, Field::CtMark.place().offset);
        let is_new = Place {
            base: Reg::R10,
            offset: stack::IS_NEW,
            size: Size::D,
        };
        script.either(
            is_new.is(0),
            |script| script.set(mark, Place::word(FLOW, layout::MARK)),
            |script| {
                script.set(packet_byte(Field::CtStatus), 0);
                let unconfirmed = Place::byte(PACKET, packet_layout::UNCONFIRMED);
                script.set(unconfirmed, 1);
            },
        );
    }

    fn tell_tcp(&mut self) {
        let (labels, segment, machine, direction) =
            (self.labels, self.segment, self.machine, self.direction);
        let [valid, reply, lingers] = [(); 3].map(|()| self.body.code.label());
        let exits = Exits {
            valid,
            ignored: labels.keep,
            invalid: labels.refused,
            lingers,
            reopened: labels.reopened,
        };
        let mut script = self.script();
        script.branch(&direction.is(1), true, reply);
        tcp::packet(&mut script, &segment, 0, &machine, &exits);
        script.code.bind(reply);
        tcp::packet(&mut script, &segment, 1, &machine, &exits);
        script.code.bind(lingers);
        let rate = self.tick_rate;
        let soon = timeouts::TCP_UNACKNOWLEDGED.wrapping_mul(rate);
        let expires = Place::word(FLOW, layout::EXPIRES);
        let now = self.now;
        let mut script = self.script();
        let left: Word = expires - now;
        let long = Fact::Compare(Cond::Sgt, left, soon.into());
        script.when(long, |script| script.set(expires, now + soon));
        script.code.jump(labels.refused);
        script.code.bind(valid);
        forget(&mut script, &[machine.old, machine.new, segment.index]);
        let more = Place::byte(PACKET, packet_layout::MORE_FRAGMENTS);
        script.when(more.differs(0), |script| {
            for side in layout::SIDES {
                let known = Place::byte(FLOW, side + layout::side::FLAGS);
                script.set(known, known | u32::from(flags::BE_LIBERAL));
            }
        });
        let flow_status = Place::byte(FLOW, layout::STATUS);
        let seen = || flow_status.has(u32::from(status::SEEN_REPLY));
        let state = |it: State| u32::from(it as u8);
        let opened = machine
            .old
            .is(state(State::SynReceived))
            .or(machine.old.is(state(State::Established)));
        let assured = Fact::All(vec![
            seen(),
            opened,
            machine.new.is(state(State::Established)),
        ]);
        script.when(assured, |script| {
            script.set(flow_status, flow_status | u32::from(status::ASSURED));
        });
        let ends = seen().negated().and(segment.index.is(Index::Rst as u32));
        script.when(ends, |script| script.set(machine.old, DYING));
        // A SYN that is repeated keeps no connection alive.
        let repeats = Fact::All(vec![
            seen().negated(),
            segment.index.is(Index::Syn as u32),
            machine.old.is(state(State::SynSent)),
        ]);
        script.branch(&repeats, true, labels.keep);
        self.tcp_timeout();
        let (expires, now, old) = (self.expires, self.now, self.machine.old);
        let mut script = self.script();
        // The last packet of a flow is counted, but gives it no more time.
        script.when(old.is(DYING), |script| {
            script.set(expires, Place::word(FLOW, layout::EXPIRES) - now);
        });
        let refresh = labels.refresh;
        self.body.code.jump(refresh);
    }

    fn tcp_timeout(&mut self) {
        let rate = self.tick_rate;
        let (expires, machine, segment) = (self.expires, self.machine, self.segment);
        let mut script = self.script();
        for (number, seconds) in timeouts::TCP.into_iter().enumerate() {
            script.when(machine.new.is(number as u32), |script| {
                script.set(expires, hidden(seconds));
            });
        }
        fn at_most(script: &mut Script<'_>, expires: Place, seconds: u32) {
            script.when(expires.above(seconds), |script| {
                script.set(expires, hidden(seconds))
            });
        }
        let [set, reset, unacknowledged, closed_window] = [(); 4].map(|()| script.code.label());
        let repeats = Place::byte(FLOW, layout::RETRANSMITS);
        let repeating = repeats.below(u32::from(MAX_RETRANSMITS)).negated();
        script.branch(&repeating, false, reset);
        at_most(&mut script, expires, timeouts::TCP_RETRANSMITTING);
        script.code.jump(set);
        script.code.bind(reset);
        let is_reset = segment.index.is(Index::Rst as u32);
        script.branch(&is_reset, false, unacknowledged);
        script.set(expires, hidden(timeouts::TCP[State::Close as usize]));
        script.code.jump(set);
        script.code.bind(unacknowledged);
        let side_flags = |side: usize| Place::byte(FLOW, layout::SIDES[side] + layout::side::FLAGS);
        let waits = (side_flags(0) | side_flags(1)).has(u32::from(flags::UNACKNOWLEDGED));
        script.branch(&waits, false, closed_window);
        at_most(&mut script, expires, timeouts::TCP_UNACKNOWLEDGED);
        script.code.jump(set);
        script.code.bind(closed_window);
        let last_window = Place {
            base: FLOW,
            offset: layout::LAST_WINDOW,
            size: Size::H,
        };
        script.when(last_window.is(0), |script| {
            at_most(script, expires, timeouts::TCP_RETRANSMITTING);
        });
        script.code.bind(set);
        let one_sided = Place::byte(FLOW, layout::STATUS)
            .has(u32::from(status::SEEN_REPLY))
            .negated()
            .and(machine.new.is(u32::from(State::Established as u8)));
        script.when(one_sided, |script| {
            at_most(script, expires, timeouts::TCP_UNACKNOWLEDGED);
        });
        script.set(expires, expires * rate);
    }

    /// The timeouts of protocols without a machine.
    fn others(&mut self) {
        let rate = self.tick_rate;
        let (class, expires, now) = (self.class, self.expires, self.now);
        let flow_status = Place::byte(FLOW, layout::STATUS);
        let seen = || flow_status.has(u32::from(status::SEEN_REPLY));
        let is = |it: Class| class.is(it as u32);
        let hidden_ticks = |seconds: u32| hidden(seconds.wrapping_mul(rate));
        let assure = |script: &mut Script<'_>| {
            script.set(flow_status, flow_status | u32::from(status::ASSURED));
        };
        let mut script = self.script();
        script.set(expires, hidden_ticks(timeouts::GENERIC));
        script.when(is(Class::Icmp), |script| {
            script.set(expires, hidden_ticks(timeouts::ICMP))
        });
        script.when(is(Class::Gre), |script| {
            script.set(expires, hidden_ticks(timeouts::GRE));
            script.when(seen(), |script| {
                script.set(expires, hidden_ticks(timeouts::GRE_STREAM));
                assure(script);
            });
        });
        script.when(is(Class::Udp), |script| {
            script.set(expires, hidden_ticks(timeouts::UDP));
            let from = Place::word(FLOW, layout::STREAM_FROM);
            script.when(seen().and(now.after(from)), |script| {
                script.set(expires, hidden_ticks(timeouts::UDP_STREAM));
                assure(script);
            });
        });
    }

    /// Dates and counts.
    fn refresh(&mut self) {
        let (expires, now, direction) = (self.expires, self.now, self.direction);
        let mut script = self.script();
        script.set(Place::word(FLOW, layout::EXPIRES), now + expires);
        let [reply, done] = [(); 2].map(|()| script.code.label());
        script.branch(&direction.is(1), true, reply);
        let code = &mut *script.code;
        for side in 0..2 {
            code.load(Size::D, Reg::R1, FLOW, layout::PACKETS[side]);
            code.alu(Alu::Add, Reg::R1, 1);
            code.store(Size::D, FLOW, layout::PACKETS[side], Reg::R1);
            code.load(Size::D, Reg::R1, FLOW, layout::BYTES[side]);
            code.load(Size::W, Reg::R2, PACKET, packet_layout::LENGTH);
            code.alu(Alu::Add, Reg::R1, Reg::R2);
            code.store(Size::D, FLOW, layout::BYTES[side], Reg::R1);
            if side == 0 {
                code.jump(done);
                code.bind(reply);
            }
        }
        code.bind(done);
    }

    /// What remains to be done without the lock: a flow that a RST ends is gone, one that is new and
    /// accepted is remembered.
    fn leave(&mut self) {
        let labels = self.labels;
        let (class, segment, commit) = (self.class, self.segment, self.commit);
        let enter = self.maps.enter;
        let fresh = self.body.code.label();
        let code = &mut self.body.code;
        code.load(Size::D, Reg::R1, Reg::R10, stack::IS_NEW);
        code.branch(Cond::Ne, Reg::R1, 0, fresh);
        let dies = Fact::All(vec![
            class.is(Class::Tcp as u32),
            segment.index.is(Index::Rst as u32),
            self.machine.old.is(DYING),
        ]);
        self.script().branch(&dies, false, labels.end);
        // The rules may still ask for it.
        self.body
            .code
            .store(Size::B, FLOW, layout::TCP_STATE, i32::from(GONE));
        self.body.code.jump(labels.end);
        self.body.code.bind(fresh);
        self.script().branch(&commit.is(0), true, labels.end);
        let mark = Place::word(PACKET, Field::CtMark.place().offset);
        let mut script = self.script();
        script.set(Place::word(FLOW, layout::MARK), mark);
        let flow_status = Place::byte(FLOW, layout::STATUS);
        let confirmed = flow_status | u32::from(status::CONFIRMED);
        script.set(flow_status, confirmed);
        let code = &mut self.body.code;
        code.mov(Reg::R1, CONTEXT);
        code.mov(Reg::R2, PACKET);
        code.load(Size::D, Reg::R3, Reg::R10, stack::QUESTION);
        code.mov(Reg::R4, FLOW);
        code.call_function(enter);
        code.jump(labels.end);
        code.bind(labels.invalid);
        let state_place = self.state;
        self.script().set(state_place, u32::from(state::INVALID));
        self.body.code.bind(labels.end);
        self.body.answer(0);
    }
}

/// A number that the verifier does not know, so that it looks only once at what follows, and not for each
/// value that there may be. To it, two loads from a packet's struct are two numbers.
fn hidden(number: u32) -> Word {
    let length = Place::word(PACKET, packet_layout::LENGTH);
    let nothing = length ^ Word::from(length);
    nothing + number
}

/// Hides what variables hold.
fn forget(script: &mut Script<'_>, variables: &[Place]) {
    for &variable in variables {
        script.set(variable, hidden(0) + variable);
    }
}

/// What the machine's old state holds for a flow that ends with this packet.
const DYING: u32 = 255;
