//! [`sctp`](crate::track::sctp) in bytecode. The chunks are read by functions that are verified once, before
//! the flow is locked; the machine then looks at what they found.

use super::hidden;
use super::tcp::FLOW;
use crate::asm::{Alu, Cond, FunctionId, Imm64, Label, Reg, Size};
use crate::emit::link::Linker;
use crate::emit::words::{Compare, Fact, Place, Script, Word};
use crate::emit::worker::{Worker, forget, join};
use crate::track::sctp::{
    FLAG_T, GIVES_TAG, IV, MAX_CHUNKS, STATES, State, TRANSITIONS, kind, notes,
};
use crate::track::{layout, status};

/// What [`read_chunks`] answers: the known [`kind`]s, four bits each, the last in the lowest; behind them the
/// set of all kinds.
mod found {
    use super::MAX_CHUNKS;

    pub const LIST_BITS: i32 = 4 * MAX_CHUNKS as i32;
    /// Where the greatest place of the list begins.
    pub const LAST: i32 = LIST_BITS - 4;
    pub const KIND_BITS: i32 = 15;
    /// A bit of the answer that says that the packet is invalid.
    pub const BROKEN: i32 = 62;
}

/// Where the place of the next chunk lies in the state of the walk, below what was found.
const PLACE_BITS: i32 = 17;
const _: () = assert!(PLACE_BITS + found::LIST_BITS + found::KIND_BITS < found::BROKEN);

/// Chunks in one call, and calls for the longest packet of the shortest chunks.
const CHUNKS: i32 = 16;
/// See [`CHUNKS`].
const CALLS: i32 = 1024;
const _: () = assert!(4 * CHUNKS * CALLS > u16::MAX as i32);

/// `u64 chunks(context, place | end << 32)`: what is found behind the common header.
pub fn read_chunks(linker: &mut Linker<'_>) -> FunctionId {
    let step = linker.worker("sctp_chunks", 2, step);
    linker.worker("sctp_packet", 1, |worker| {
        let (end, state, round) = (Reg::R7, Reg::R8, Reg::R9);
        let [again, done] = [(); 2].map(|()| worker.code.label());
        worker.split(Reg::R2, state, end);
        let code = &mut worker.code;
        code.mov(round, 0);
        code.bind(again);
        code.mov(Reg::R2, end);
        code.mov(Reg::R3, state);
        worker.call(step);
        let code = &mut worker.code;
        code.mov(state, Reg::R0);
        code.branch(Cond::Slt, state, 0, done);
        code.alu(Alu::Add, round, 1);
        code.branch(Cond::Lt, round, CALLS, again);
        code.load_imm64(state, Imm64::Number(1 << found::BROKEN));
        code.bind(done);
        worker.answer(state);
    })
}

/// `u64 step(context, end, state)`: the state behind the next chunks, or the answer with the highest bit.
fn step(worker: &mut Worker) {
    /// The first bytes of a chunk.
    const CHUNK: i16 = -4;
    const ROUND: i16 = -16;
    const SPARE: i16 = -20;
    let (end, at, seen, kind_register) = (Reg::R7, Reg::R8, Reg::R9, Reg::R2);
    let [again, last, broken, plain] = [(); 4].map(|()| worker.code.label());
    let code = &mut worker.code;
    code.mov(end, Reg::R2);
    code.mov(at, Reg::R3);
    code.alu(Alu::And, at, (1 << PLACE_BITS) - 1);
    code.mov(seen, Reg::R3);
    code.alu(Alu::Rsh, seen, PLACE_BITS);
    code.store(Size::D, Reg::R10, ROUND, 0);
    code.bind(again);
    worker.bytes(at, end, 4, CHUNK, last);
    let code = &mut worker.code;
    code.load(Size::H, Reg::R1, Reg::R10, CHUNK + 2);
    code.to_big_endian(Reg::R1, 16);
    code.branch(Cond::Eq, Reg::R1, 0, broken);
    code.alu(Alu::Add, Reg::R1, 3);
    code.alu(Alu::And, Reg::R1, 0x1fffc);
    code.alu(Alu::Add, at, Reg::R1);
    let inside = code.label();
    code.branch(Cond::Le, at, end, inside);
    code.mov(at, end);
    code.bind(inside);
    forget(code, at, SPARE);
    kind_of(worker, CHUNK, kind_register);
    let code = &mut worker.code;
    // What stands alone or first is found when nothing else is.
    let follows = code.label();
    code.branch(Cond::Eq, seen, 0, follows);
    for it in kind::ALONE.iter().chain(&kind::FIRST) {
        code.branch(Cond::Eq, kind_register, i32::from(*it), broken);
    }
    code.mov(Reg::R1, seen);
    code.alu(Alu::Rsh, Reg::R1, found::LIST_BITS);
    code.branch(Cond::Set, Reg::R1, kind::set(&kind::ALONE) as i32, broken);
    code.bind(follows);
    // The set.
    code.mov(Reg::R3, 1);
    code.alu(Alu::Lsh, Reg::R3, kind_register);
    code.load(Size::B, Reg::R1, Reg::R10, CHUNK);
    let no_data = code.label();
    code.branch(Cond::Ne, Reg::R1, 0, no_data);
    code.alu(Alu::Or, Reg::R3, 1 << kind::DATA);
    code.bind(no_data);
    code.alu(Alu::Lsh, Reg::R3, found::LIST_BITS);
    code.alu(Alu::Or, seen, Reg::R3);
    // The list.
    code.branch(Cond::Eq, kind_register, i32::from(kind::OTHER), plain);
    code.mov(Reg::R1, seen);
    code.alu(Alu::And, Reg::R1, 15 << found::LAST);
    code.branch(Cond::Ne, Reg::R1, 0, broken);
    code.mov(Reg::R3, seen);
    code.alu(Alu::Rsh, Reg::R3, found::LIST_BITS);
    code.alu(Alu::Lsh, Reg::R3, found::LIST_BITS);
    code.alu(Alu::And, seen, (1 << found::LIST_BITS) - 1);
    code.alu(Alu::Lsh, seen, 4);
    code.alu(Alu::Or, seen, kind_register);
    code.alu(Alu::Or, seen, Reg::R3);
    code.bind(plain);
    // To the verifier, all turns are alike but for their number.
    code.mov(Reg::R1, seen);
    code.alu(Alu::Rsh, Reg::R1, 32);
    forget(code, Reg::R1, SPARE - 8);
    forget(code, seen, SPARE);
    join(code, seen, Reg::R1);
    code.load(Size::D, Reg::R3, Reg::R10, ROUND);
    code.alu(Alu::Add, Reg::R3, 1);
    code.store(Size::D, Reg::R10, ROUND, Reg::R3);
    code.branch(Cond::Lt, Reg::R3, CHUNKS, again);
    code.mov(Reg::R0, seen);
    code.alu(Alu::Lsh, Reg::R0, PLACE_BITS);
    code.alu(Alu::Or, Reg::R0, at);
    worker.answer(Reg::R0);
    let code = &mut worker.code;
    code.bind(last);
    code.branch(Cond::Eq, seen, 0, broken);
    code.load_imm64(Reg::R0, Imm64::Number(1 << 63));
    code.alu(Alu::Or, Reg::R0, seen);
    worker.answer(Reg::R0);
    worker.code.bind(broken);
    let answer = Imm64::Number(1 << 63 | 1 << found::BROKEN);
    worker.code.load_imm64(Reg::R0, answer);
    worker.answer(Reg::R0);
}

/// The kind of the chunk on the stack.
fn kind_of(worker: &mut Worker, chunk: i16, to: Reg) {
    let code = &mut worker.code;
    let known = code.label();
    let table = kind::OF_TYPES
        .iter()
        .rev()
        .fold(0u64, |packed, &it| packed << 4 | u64::from(it));
    code.load(Size::B, Reg::R1, Reg::R10, chunk);
    code.mov(to, i32::from(kind::OTHER));
    code.branch(Cond::Ge, Reg::R1, kind::OF_TYPES.len() as i32, known);
    code.alu(Alu::Lsh, Reg::R1, 2);
    code.load_imm64(to, Imm64::Number(table));
    code.alu(Alu::Rsh, to, Reg::R1);
    code.alu(Alu::And, to, 15);
    code.load(Size::B, Reg::R1, Reg::R10, chunk + 1);
    code.alu(Alu::And, Reg::R1, i32::from(FLAG_T));
    code.branch(Cond::Eq, Reg::R1, 0, known);
    for (plain, flagged) in [
        (kind::ABORT, kind::ABORT_T),
        (kind::SHUTDOWN_COMPLETE, kind::SHUTDOWN_COMPLETE_T),
    ] {
        let other = code.label();
        code.branch(Cond::Ne, to, i32::from(plain), other);
        code.mov(to, i32::from(flagged));
        code.bind(other);
    }
    code.bind(known);
}

/// What is known of the packet, and what the machine remembers meanwhile, in variables.
#[derive(Clone, Copy)]
pub struct Variables {
    /// The verification tag.
    pub tag: Place,
    /// The known kinds, the first in the highest of [`MAX_CHUNKS`] places that is not empty.
    pub list: Place,
    /// All kinds.
    pub kinds: Place,
    /// The tag that an INIT or INIT ACK gives.
    pub init_tag: Place,
    /// The tag of this direction.
    pub own: Place,
    /// That of the other.
    pub other: Place,
    /// The kind in work.
    pub kind: Place,
    /// 1 when the packet does not keep the association alive.
    pub ignored: Place,
    /// The state before.
    pub old: Place,
    /// The state behind.
    pub new: Place,
    /// How many places of the list were looked at: eight bytes, so that the verifier counts with us.
    pub turns: Place,
}

/// Where the machine leaves.
#[derive(Clone, Copy)]
pub struct Exits {
    /// The packet belongs to the association, whose state is in the flow.
    pub valid: Label,
    /// Likewise, and does not keep it alive.
    pub ignored: Label,
    /// It does not belong to it.
    pub invalid: Label,
}

/// Takes the answer of [`read_chunks`] in R0 to pieces; goes to `invalid` for a packet that is.
pub fn take(script: &mut Script<'_>, variables: &Variables, invalid: Label) {
    let code = &mut *script.code;
    code.mov(Reg::R1, Reg::R0);
    code.alu(Alu::Rsh, Reg::R1, found::BROKEN);
    code.branch(Cond::Set, Reg::R1, 1, invalid);
    for (place, from, bits) in [
        (variables.list, 0, found::LIST_BITS),
        (variables.kinds, found::LIST_BITS, found::KIND_BITS),
    ] {
        code.mov(Reg::R1, Reg::R0);
        code.alu(Alu::Rsh, Reg::R1, from);
        code.alu(Alu::And, Reg::R1, (1 << bits) - 1);
        code.store(Size::W, place.base, place.offset, Reg::R1);
    }
}

/// Whether the packet gives a tag.
pub fn gives_tag(variables: &Variables) -> Fact {
    variables.kinds.has(GIVES_TAG)
}

fn tag_of(direction: usize) -> Place {
    Place::word(FLOW, layout::SCTP_TAGS[direction])
}

/// [`Association::begin`](crate::track::sctp::Association::begin): a flow that is all zero; goes to `invalid` for
/// a packet that begins none.
pub fn begin(script: &mut Script<'_>, it: &Variables, invalid: Label) {
    let done = script.code.label();
    script.branch(&it.kinds.has(kind::BEGIN_NONE), true, invalid);
    script.when(it.kinds.has(1 << kind::INIT), |script| {
        script.branch(&it.tag.differs(0), true, invalid);
        script.set(tag_of(1), it.init_tag);
        script.code.jump(done);
    });
    script.when(it.kinds.has(kind::BEATS), |script| {
        script.set(tag_of(0), it.tag)
    });
    script.when(it.kinds.has(!kind::BEATS), |script| {
        script.set(tag_of(1), it.tag)
    });
    script.code.bind(done);
}

/// Writes the machine, for packets of both directions.
pub fn packet(script: &mut Script<'_>, it: &Variables, direction: Place, exits: &Exits) {
    let state = Place::byte(FLOW, layout::SCTP_STATE);
    let [again, next, done, refused, valid] = [(); 5].map(|()| script.code.label());
    script.either(
        direction.is(0),
        |script| {
            script.set(it.own, tag_of(0));
            script.set(it.other, tag_of(1));
        },
        |script| {
            script.set(it.own, tag_of(1));
            script.set(it.other, tag_of(0));
        },
    );
    let untagged = it.kinds.has(kind::TAGGED).negated();
    let foreign = untagged.and(it.tag.differs(it.own));
    script.branch(&foreign, true, exits.invalid);
    script.set(it.ignored, 0);
    script.set(it.old, state);
    script.set(it.new, state);
    script.set(it.turns, 0);
    script.code.bind(again);
    script.branch(&it.turns.is(MAX_CHUNKS as u32), true, done);
    script.set(it.turns, it.turns + 1);
    // To the verifier, all turns are alike but for their number.
    for place in [it.list, it.own, it.other, it.ignored, it.old, it.new] {
        script.set(place, hidden(0) + place);
    }
    script.set(it.kind, it.list >> found::LAST as u32);
    script.set(it.list, (it.list << 4) & ((1 << found::LIST_BITS) - 1));
    script.branch(&it.kind.is(u32::from(kind::OTHER)), true, again);
    tags(script, it, direction, refused, next);
    script.set(it.old, state);
    transition(script, it, direction);
    script.set(it.new, hidden(0) + it.new);
    script.branch(&it.new.is(u32::from(IV)), true, refused);
    inits(script, it, direction, refused);
    script.set(state, it.new);
    let established = u32::from(State::Established as u8);
    let flow_status = Place::byte(FLOW, layout::STATUS);
    let assured = it.new.is(established).and(it.old.differs(established));
    script.when(assured, |script| {
        script.set(flow_status, flow_status | u32::from(status::ASSURED));
    });
    script.code.bind(next);
    script.code.jump(again);
    for (label, exit) in [(refused, exits.invalid), (done, valid)] {
        script.code.bind(label);
        keep_tags(script, it, direction);
        script.code.jump(exit);
    }
    script.code.bind(valid);
    script.branch(&it.ignored.is(1), true, exits.ignored);
    script.set(it.new, state);
    script.code.jump(exits.valid);
}

fn keep_tags(script: &mut Script<'_>, it: &Variables, direction: Place) {
    script.either(
        direction.is(0),
        |script| {
            script.set(tag_of(0), it.own);
            script.set(tag_of(1), it.other);
        },
        |script| {
            script.set(tag_of(1), it.own);
            script.set(tag_of(0), it.other);
        },
    );
}

fn is(it: &Variables, kinds: &[u8]) -> Fact {
    Fact::Any(
        kinds
            .iter()
            .map(|&kind| it.kind.is(u32::from(kind)))
            .collect(),
    )
}

fn known() -> Place {
    Place::byte(FLOW, layout::SCTP_NOTES)
}

/// What a chunk says of tags before it changes the state.
fn tags(script: &mut Script<'_>, it: &Variables, direction: Place, refused: Label, next: Label) {
    let (of_init, of_own, of_other) = (
        is(it, &[kind::INIT]).and(it.tag.differs(0)),
        is(
            it,
            &[kind::ABORT, kind::SHUTDOWN_COMPLETE, kind::COOKIE_ECHO],
        )
        .and(it.tag.differs(it.own)),
        is(it, &[kind::ABORT_T, kind::SHUTDOWN_COMPLETE_T]).and(it.tag.differs(it.other)),
    );
    for wrong in [of_init, of_own, of_other] {
        script.branch(&wrong, true, refused);
    }
    script.when(is(it, &[kind::COOKIE_ACK]), |script| {
        script.set(known(), known() & !u32::from(notes::INITS));
    });
    let [plain, other_tag, acknowledges] = [(); 3].map(|()| script.code.label());
    let heartbeat = is(it, &[kind::HEARTBEAT, kind::HEARTBEAT_ACK]);
    script.branch(&heartbeat, false, plain);
    script.when(it.own.is(0), |script| {
        script.set(it.own, it.tag);
        script.code.jump(plain);
    });
    script.branch(&it.own.differs(it.tag), true, other_tag);
    script.set(known(), known() & !u32::from(notes::OTHER_TAG));
    script.code.jump(plain);
    script.code.bind(other_tag);
    script.branch(&it.kinds.has(1 << kind::DATA), true, refused);
    script.branch(&it.ignored.is(1), true, refused);
    script.branch(&is(it, &[kind::HEARTBEAT]), false, acknowledges);
    let direction_note = || direction * u32::from(notes::REPLY);
    let rest = known() & !u32::from(notes::REPLY);
    script.set(known(), rest | u32::from(notes::OTHER_TAG));
    script.set(known(), known() | direction_note());
    script.set(it.ignored, 1);
    script.code.jump(next);
    script.code.bind(acknowledges);
    let failed = known().has(u32::from(notes::OTHER_TAG));
    script.branch(&failed, false, refused);
    let same_way = (known() & u32::from(notes::REPLY)).is(direction_note());
    script.branch(&same_way, true, refused);
    script.set(known(), known() & !u32::from(notes::OTHER_TAG));
    script.set(it.own, it.tag);
    script.set(it.other, 0);
    script.code.bind(plain);
}

/// What an INIT or an INIT ACK says, with the state that follows.
fn inits(script: &mut Script<'_>, it: &Variables, direction: Place, refused: Label) {
    let done = script.code.label();
    script.branch(&gives_tag(it), false, done);
    let own = || direction + 1;
    let other = || own() ^ u32::from(notes::INITS);
    let both = || (known() & u32::from(notes::INITS)).is(u32::from(notes::INITS));
    script.either(
        is(it, &[kind::INIT]),
        |script| {
            script.when(both(), |script| script.set(known(), known() ^ other()));
            script.set(known(), known() | own());
            let closed = u32::from(State::Closed as u8);
            let confirmed = Place::byte(FLOW, layout::STATUS).has(u32::from(status::CONFIRMED));
            let repeats = Fact::All(vec![it.old.is(closed), it.new.is(closed), confirmed]);
            script.when(repeats, |script| script.set(it.ignored, 1));
        },
        |script| {
            let asked: Word = known() & other();
            let unasked = asked.is(0).and(it.other.differs(0));
            let collides = it.other.differs(it.init_tag).and(unasked.or(both()));
            script.branch(&collides, true, refused);
        },
    );
    script.set(it.other, it.init_tag);
    script.code.bind(done);
}

/// The next state, by the kind and the state.
fn transition(script: &mut Script<'_>, it: &Variables, direction: Place) {
    let code = &mut *script.code;
    let (row, shift, packed) = (Reg::R1, Reg::R3, Reg::R2);
    let [reply, found] = [(); 2].map(|()| code.label());
    code.load(Size::W, shift, it.old.base, it.old.offset);
    code.alu(Alu::And, shift, 15);
    code.alu(Alu::Lsh, shift, 2);
    code.load(Size::W, row, it.kind.base, it.kind.offset);
    code.load(Size::W, Reg::R4, direction.base, direction.offset);
    code.branch(Cond::Ne, Reg::R4, 0, reply);
    for (rows, label) in TRANSITIONS.iter().zip([None, Some(reply)]) {
        if let Some(label) = label {
            code.bind(label);
        }
        for number in kind::INIT..=kind::SHUTDOWN_COMPLETE_T {
            let states: &[u8; STATES] = &rows[kind::row(number)];
            let states = states.iter().rev();
            let states = states.fold(0u64, |packed, &state| packed << 4 | u64::from(state));
            code.load_imm64(packed, Imm64::Number(states));
            code.branch(Cond::Eq, row, i32::from(number), found);
        }
        // Any other number cannot be.
        code.load_imm64(packed, Imm64::Number(u64::MAX / 15 * u64::from(IV)));
        if label.is_none() {
            code.jump(found);
        }
    }
    code.bind(found);
    code.alu(Alu::Rsh, packed, shift);
    code.alu(Alu::And, packed, 15);
    code.store(Size::W, it.new.base, it.new.offset, packed);
}
