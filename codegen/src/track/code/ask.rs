//! What routines of rules ask about the packet's connection.

use super::question;
use crate::asm::{Cond, FunctionId, Helper, Imm64, Label, MapId, Reg, Size};
use crate::emit::link::{Body, CONTEXT, PACKET};
use crate::field::Field;
use crate::track::NO_CONNECTION;

/// Where the question lies on a routine's stack; variables lie below.
pub const QUESTION: i16 = -question::SIZE;

/// Goes to `none` when the packet has no connection.
pub fn connected(body: &mut Body, none: Label) {
    body.field(Reg::R1, Field::CtState);
    body.code
        .branch(Cond::Set, Reg::R1, i32::from(NO_CONNECTION), none);
}

/// Resolves the packet again, which gives the question.
pub fn question(body: &mut Body, resolve: FunctionId) {
    for offset in (0..question::SIZE).step_by(8) {
        body.code.store(Size::D, Reg::R10, QUESTION + offset, 0);
    }
    body.code.mov(Reg::R1, CONTEXT);
    body.code.mov(Reg::R2, PACKET);
    body.stack(Reg::R3, QUESTION);
    body.code.call_function(resolve);
}

/// `r0 = flow of the question`; goes to `none` when there is none.
pub fn flow(body: &mut Body, flows: MapId, none: Label) {
    body.code.load_imm64(Reg::R1, Imm64::Map(flows));
    body.stack(Reg::R2, QUESTION + question::KEY);
    body.code.call(Helper::MapLookupElem);
    body.code.branch(Cond::Eq, Reg::R0, 0, none);
}
