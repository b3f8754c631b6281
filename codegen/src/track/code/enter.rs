//! Entering a flow into the table, and making room for others.
//!
//! Beside the table there is a ring of places, each for the key of a flow, and a hand that goes round. A flow
//! that is entered gets the first place behind the hand whose own flow is over or unknown, or is not assured
//! and began so short a time ago that the hand must have come round in a flood; a flow that loses its place
//! so leaves the table. The hand passes the others over: after [`TRIES`] of them the last one loses its
//! place, but stays in the table. So the table holds little that has expired, and a flood takes no more of it
//! than the ring has places.

use super::question;
use crate::asm::{Alu, Cond, Helper, Imm64, Label, MapId, Reg, Size};
use crate::emit::link::{Body, CONTEXT};
use crate::track::tcp::GONE;
use crate::track::{Key, layout, statistics, status};

/// Where things lie in a place of the ring, behind its lock.
mod place {
    use crate::track::Key;

    pub const KEY: i16 = 8;
    /// The tick at which the flow was entered: `u32`.
    pub const SINCE: i16 = KEY + Key::SIZE as i16;
    pub const END: i16 = SINCE + 8;
}

/// Bytes of a place behind its lock.
pub const RING_PLACE_BYTES: u32 = (place::END - place::KEY) as u32;

/// The maps.
#[derive(Clone, Copy)]
pub struct EnterMaps {
    /// [`FLOWS_MAP`](crate::track::FLOWS_MAP)
    pub flows: MapId,
    /// [`RING_MAP`](crate::track::RING_MAP)
    pub ring: MapId,
    /// How many places it has: a power of two.
    pub places: u32,
    /// [`STATISTICS_MAP`](crate::track::STATISTICS_MAP)
    pub statistics: MapId,
}

/// How many places are looked at for each flow.
const TRIES: usize = 4;

/// Where things lie on the stack.
mod stack {
    /// The question's address.
    pub const QUESTION: i16 = -8;
    /// The index of a value: `u32`.
    pub const INDEX: i16 = -12;
    /// The tick: `u32`.
    pub const NOW: i16 = -16;
}

/// The value of the statistics.
const STATISTICS: Reg = Reg::R8;
/// A place of the ring.
const PLACE: Reg = Reg::R9;
/// `BPF_NOEXIST` of include/uapi/linux/bpf.h.
const NO_EXIST: i32 = 1;

/// Writes the function's body; R3 is the question, R4 the flow.
/// `flood` is the longest that half a table of new flows may take to be one, in ticks.
pub fn enter(body: &mut Body, maps: EnterMaps, flood: u32) {
    let [end, taken, entered, failed] = [(); 4].map(|()| body.code.label());
    let code = &mut body.code;
    code.store(Size::D, Reg::R10, stack::QUESTION, Reg::R3);
    code.mov(Reg::R2, Reg::R3);
    code.mov(Reg::R3, Reg::R4);
    code.load_imm64(Reg::R1, Imm64::Map(maps.flows));
    code.mov(Reg::R4, NO_EXIST);
    code.call(Helper::MapUpdateElem);
    // The context is not asked for any more.
    code.mov(CONTEXT, Reg::R0);
    code.store(Size::W, Reg::R10, stack::INDEX, 0);
    body.look_up(maps.statistics, stack::INDEX, end);
    let code = &mut body.code;
    code.mov(STATISTICS, Reg::R0);
    code.branch32(Cond::Ne, CONTEXT, 0, failed);
    count(body, statistics::INSERTED);
    body.code.call(Helper::Jiffies64);
    body.code.store(Size::W, Reg::R10, stack::NOW, Reg::R0);
    for _ in 0..TRIES {
        try_next(body, maps, flood, taken, end);
    }
    body.code.bind(taken);
    take(body);
    body.code.jump(entered);
    body.code.bind(failed);
    count(body, statistics::INSERT_FAILED);
    body.code.bind(entered);
    body.code.bind(end);
    body.code.mov(Reg::R0, 0);
}

/// Adds one to a number of the statistics, which R1 has before.
fn count(body: &mut Body, offset: i16) {
    body.lock(STATISTICS);
    let code = &mut body.code;
    code.load(Size::D, CONTEXT, STATISTICS, offset);
    code.mov(Reg::R1, CONTEXT);
    code.alu(Alu::Add, Reg::R1, 1);
    code.store(Size::D, STATISTICS, offset, Reg::R1);
    body.unlock(STATISTICS);
}

/// Goes to `taken` when the place that the hand is at can be; else falls through with it.
fn try_next(body: &mut Body, maps: EnterMaps, flood: u32, taken: Label, end: Label) {
    let [over, next] = [(); 2].map(|()| body.code.label());
    count(body, statistics::LOOKED);
    let code = &mut body.code;
    code.alu(Alu::And, CONTEXT, maps.places as i32 - 1);
    code.store(Size::W, Reg::R10, stack::INDEX, CONTEXT);
    body.look_up(maps.ring, stack::INDEX, end);
    let code = &mut body.code;
    code.mov(PLACE, Reg::R0);
    code.load_imm64(Reg::R1, Imm64::Map(maps.flows));
    code.mov(Reg::R2, PLACE);
    code.alu(Alu::Add, Reg::R2, i32::from(place::KEY));
    code.call(Helper::MapLookupElem);
    code.branch(Cond::Eq, Reg::R0, 0, taken);
    code.load(Size::W, Reg::R1, Reg::R10, stack::NOW);
    code.load(Size::W, Reg::R2, Reg::R0, layout::EXPIRES);
    code.alu32(Alu::Sub, Reg::R2, Reg::R1);
    code.branch32(Cond::Sle, Reg::R2, 0, over);
    code.load(Size::B, Reg::R2, Reg::R0, layout::TCP_STATE);
    code.branch(Cond::Eq, Reg::R2, i32::from(GONE), over);
    code.load(Size::B, Reg::R2, Reg::R0, layout::STATUS);
    code.branch(Cond::Set, Reg::R2, i32::from(status::ASSURED), next);
    code.load(Size::W, Reg::R2, PLACE, place::SINCE);
    code.alu32(Alu::Sub, Reg::R1, Reg::R2);
    code.branch32(Cond::Gt, Reg::R1, flood as i32, next);
    count(body, statistics::EARLY_DROPPED);
    take_out(body, maps.flows);
    body.code.jump(taken);
    body.code.bind(over);
    count(body, statistics::EXPIRED);
    take_out(body, maps.flows);
    body.code.jump(taken);
    body.code.bind(next);
}

/// Takes the flow of the place out of the table.
fn take_out(body: &mut Body, flows: MapId) {
    let code = &mut body.code;
    code.load_imm64(Reg::R1, Imm64::Map(flows));
    code.mov(Reg::R2, PLACE);
    code.alu(Alu::Add, Reg::R2, i32::from(place::KEY));
    code.call(Helper::MapDeleteElem);
}

/// Gives the place to the flow of the question.
fn take(body: &mut Body) {
    body.lock(PLACE);
    let code = &mut body.code;
    code.load(Size::D, Reg::R1, Reg::R10, stack::QUESTION);
    for offset in (0..Key::SIZE as i16).step_by(8) {
        code.load(Size::D, Reg::R2, Reg::R1, question::KEY + offset);
        code.store(Size::D, PLACE, place::KEY + offset, Reg::R2);
    }
    code.load(Size::W, Reg::R1, Reg::R10, stack::NOW);
    code.store(Size::W, PLACE, place::SINCE, Reg::R1);
    body.unlock(PLACE);
}
