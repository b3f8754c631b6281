//! The connection that a packet carries, or that was handed over for it.

use super::{handed, info};
use crate::asm::{Alu, Cond, Helper, KernelField, Label, MapId, Reg, Size};
use crate::emit::link::{Body, PACKET};
use crate::field::Field;
use crate::module::Hook;
use crate::track::state;

/// The packet, and then its `_nfct`.
const WORD: Reg = Reg::R8;
/// The place of the processor at ingress; then what the word says of the packet.
const INFO: Reg = Reg::R9;

/// What lies on the stack; pointers are followed through its first eight bytes.
mod stack {
    pub const HEAD: i16 = -16;
    pub const NET: i16 = -24;
    pub const NUMBER: i16 = -32;
    /// Below this nothing is used.
    pub const END: i16 = -32;
}

/// Below this, stack is free behind [`find`].
pub const FREE: i16 = stack::END;

/// Writes a function that fills the fields of the packet's connection. `handed` is
/// [`HANDED_OVER_MAP`](super::HANDED_OVER_MAP), at ingress.
pub fn recall(body: &mut Body, handed: Option<MapId>) {
    let [connected, done] = [(); 2].map(|()| body.code.label());
    let place = |field: Field| field.place().offset;
    let unknown = i32::from(state::UNKNOWN);
    body.code
        .store(Size::B, PACKET, place(Field::CtState), unknown);
    word(body, handed, done);
    let code = &mut body.code;
    if handed.is_some() {
        code.load(Size::W, Reg::R1, INFO, handed::STATUS);
        code.store(Size::B, PACKET, place(Field::CtStatus), Reg::R1);
    }
    code.mov(INFO, WORD);
    code.alu(Alu::And, INFO, info::MASK);
    code.alu(Alu::And, WORD, !info::MASK);
    code.branch(Cond::Ne, WORD, 0, connected);
    let untracked = code.label();
    code.mov(Reg::R1, i32::from(state::UNTRACKED));
    code.branch(Cond::Eq, INFO, info::UNTRACKED, untracked);
    code.mov(Reg::R1, i32::from(state::INVALID));
    code.bind(untracked);
    code.store(Size::B, PACKET, place(Field::CtState), Reg::R1);
    code.jump(done);
    code.bind(connected);
    let original = code.label();
    code.branch(Cond::Lt, INFO, info::REPLY, original);
    code.alu(Alu::Sub, INFO, info::REPLY);
    code.store(Size::B, PACKET, place(Field::CtDirection), 1);
    code.bind(original);
    // `XT_CONNTRACK_STATE_BIT` (include/uapi/linux/netfilter/xt_conntrack.h)
    code.mov(Reg::R1, 2);
    code.alu(Alu::Lsh, Reg::R1, INFO);
    code.store(Size::B, PACKET, place(Field::CtState), Reg::R1);
    let status = (KernelField::ConnStatus, Size::B, Field::CtStatus);
    let mark = (KernelField::ConnMark, Size::W, Field::CtMark);
    let read = match handed {
        Some(_) => vec![mark],
        None => vec![status, mark],
    };
    for (from, size, to) in read {
        body.code.mov(Reg::R3, WORD);
        body.number_of(from, Reg::R1);
        body.code.store(size, PACKET, place(to), Reg::R1);
    }
    body.code.bind(done);
    body.code.mov(Reg::R0, 0);
}

/// `r8 = the packet's connection`, a `struct nf_conn`; goes to `none` when it has none. R0 to R5 and R9 are
/// lost, and the stack down to [`FREE`].
pub fn find(body: &mut Body, handed: Option<MapId>, none: Label) {
    word(body, handed, none);
    body.code.alu(Alu::And, WORD, !info::MASK);
    body.code.branch(Cond::Eq, WORD, 0, none);
}

/// `r8 = sk_buff._nfct`; at ingress, R9 is the place that it was found in. Goes to `missing` where nobody
/// tells.
fn word(body: &mut Body, handed: Option<MapId>, missing: Label) {
    body.structure(missing);
    match (body.hook, handed) {
        (Hook::CgroupIngress, Some(handed)) => handed_over(body, handed, missing),
        _ => {
            body.field_of_structure(KernelField::SkbConntrack);
            body.read(8, stack::NUMBER);
            body.code.load(Size::D, WORD, Reg::R10, stack::NUMBER);
        }
    }
}

/// What was handed over for the packet at R3, if the last that this processor was handed is it, or one that
/// it is a clone of.
fn handed_over(body: &mut Body, handed: MapId, missing: Label) {
    body.code.mov(WORD, Reg::R3);
    body.field_of_structure(KernelField::SkbHead);
    body.read(8, stack::HEAD);
    body.code.mov(Reg::R3, WORD);
    body.follow(KernelField::SkbDevice, missing);
    body.field_of_structure(KernelField::DeviceNet);
    body.read(8, stack::NET);
    body.code.call(Helper::GetSmpProcessorId);
    body.code.store(Size::W, Reg::R10, stack::NUMBER, Reg::R0);
    body.look_up(handed, stack::NUMBER, missing);
    let same = body.code.label();
    let code = &mut body.code;
    code.mov(INFO, Reg::R0);
    code.load(Size::D, Reg::R1, INFO, handed::NET);
    code.load(Size::D, Reg::R2, Reg::R10, stack::NET);
    code.branch(Cond::Ne, Reg::R1, Reg::R2, missing);
    code.load(Size::D, Reg::R1, INFO, handed::PACKET);
    code.branch(Cond::Eq, Reg::R1, WORD, same);
    code.load(Size::D, Reg::R1, INFO, handed::HEAD);
    code.load(Size::D, Reg::R2, Reg::R10, stack::HEAD);
    code.branch(Cond::Ne, Reg::R1, Reg::R2, missing);
    code.bind(same);
    code.load(Size::D, WORD, INFO, handed::CONNECTION);
}
