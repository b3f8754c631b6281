//! `dccp_find_option` of net/netfilter/xt_dccp.c: an option of a DCCP packet.

use std::fmt;

use super::{BROKEN, NO, YES};
use crate::asm::{Alu, Cond, FunctionId, Reg, Size};
use crate::emit::link::{self, Call, Linker};
use crate::emit::worker::{Worker, forget, join};
use crate::field::{Field, layout};
use crate::packet::Packet;
use crate::routine::{Perform, World};

/// Whether the packet has an option. It has the first [`BASE`] bytes of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FindOption(pub u8);

/// The header without what depends on the type (RFC 4340, section 5.1).
const BASE: i16 = 12;
/// Byte 4: the offset of the data in words.
const DATA_OFFSET: i16 = 4;
/// Byte 8: bit 0 says that sequence numbers are long, bits 1 to 4 are the type.
const TYPE: i16 = 8;
/// The types whose header is not 12 bytes longer, and by how much it is.
const EXTRA: [(u8, u8); 8] = [
    (0, 4),
    (2, 0),
    (3, 8),
    (4, 8),
    (5, 8),
    (6, 8),
    (8, 8),
    (9, 8),
];
const EXTRA_OTHER: u8 = 12;
/// Options in one step, and steps for the longest header of the shortest options.
const OPTIONS: i32 = 32;
/// See [`OPTIONS`].
const CALLS: i32 = 32;
const _: () = assert!(OPTIONS * CALLS > 4 * 255 - BASE as i32);

impl FindOption {
    fn find(self, bytes: &[u8], start: usize) -> Option<bool> {
        let header: &[u8; BASE as usize] = bytes.get(start..)?.first_chunk()?;
        let kind = header[TYPE as usize];
        let extra = EXTRA.iter().find(|row| row.0 == kind >> 1 & 15);
        let extra = extra.map_or(EXTRA_OTHER, |row| row.1);
        let from = BASE as usize + 4 * usize::from(kind & 1) + usize::from(extra);
        let to = 4 * usize::from(header[DATA_OFFSET as usize]);
        if from == to {
            return Some(false);
        }
        let mut rest = bytes.get(start + from..start + to)?;
        while let [kind, behind @ ..] = rest {
            if *kind == self.0 {
                return Some(true);
            }
            let length = match (kind, behind) {
                (0 | 1, _) | (_, [] | [0, ..]) => 1,
                (_, [length, ..]) => usize::from(*length),
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        Some(false)
    }
}

impl Perform for FindOption {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let found = self.find(packet.bytes(), packet.transport());
        found.map_or(BROKEN, u32::from)
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let walker = walker(linker);
        let function = linker.function("dccp_option", 1, |body| {
            const HEADER: i16 = -16;
            const OPTION: i16 = -20;
            let (at, from, to) = (Reg::R8, Reg::R9, Reg::R4);
            let [no, broken, extra] = [(); 3].map(|()| body.code.label());
            let code = &mut body.code;
            code.store(Size::W, Reg::R10, OPTION, Reg::R3);
            code.load(Size::H, at, link::PACKET, layout::TRANSPORT);
            body.bytes(at, BASE, HEADER, broken);
            let code = &mut body.code;
            code.load(Size::B, Reg::R1, Reg::R10, HEADER + TYPE);
            code.mov(from, Reg::R1);
            code.alu(Alu::And, from, 1);
            code.alu(Alu::Lsh, from, 2);
            code.alu(Alu::Rsh, Reg::R1, 1);
            code.alu(Alu::And, Reg::R1, 15);
            for (kind, bytes) in EXTRA {
                code.mov(Reg::R2, i32::from(bytes));
                code.branch(Cond::Eq, Reg::R1, i32::from(kind), extra);
            }
            code.mov(Reg::R2, i32::from(EXTRA_OTHER));
            code.bind(extra);
            code.alu(Alu::Add, from, Reg::R2);
            code.alu(Alu::Add, from, i32::from(BASE));
            code.load(Size::B, to, Reg::R10, HEADER + DATA_OFFSET);
            code.alu(Alu::Lsh, to, 2);
            code.branch(Cond::Gt, from, to, broken);
            code.branch(Cond::Eq, from, to, no);
            code.alu(Alu::Add, from, at);
            code.alu(Alu::Add, to, at);
            code.load(Size::W, Reg::R1, link::PACKET, layout::LENGTH);
            code.branch(Cond::Gt, to, Reg::R1, broken);
            body.frame_offset(Reg::R2);
            let code = &mut body.code;
            code.alu(Alu::Add, to, Reg::R2);
            code.alu(Alu::Add, Reg::R2, from);
            join(code, Reg::R2, to);
            code.mov(Reg::R1, link::CONTEXT);
            code.load(Size::W, Reg::R3, Reg::R10, OPTION);
            code.call_function(walker);
            body.answer(Reg::R0);
            body.code.bind(no);
            body.answer(NO as i32);
            body.code.bind(broken);
            body.answer(BROKEN as i32);
        });
        Call {
            function,
            arguments: vec![self.0.into()],
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::TransportLength]
    }
}

/// `u64 walk(context, place of the first option | end << 32, kind)`: whether the kind is among them.
fn walker(linker: &mut Linker<'_>) -> FunctionId {
    const WANTED: i16 = -8;
    let step = linker.worker("dccp_step", 2, emit_step);
    linker.worker("dccp_options", 2, |worker| {
        let (at, end, round) = (Reg::R7, Reg::R8, Reg::R9);
        let [again, done] = [(); 2].map(|()| worker.code.label());
        worker.code.store(Size::D, Reg::R10, WANTED, Reg::R3);
        worker.split(Reg::R2, at, end);
        let code = &mut worker.code;
        code.mov(round, 0);
        code.bind(again);
        code.mov(Reg::R2, at);
        code.mov(Reg::R3, end);
        join(code, Reg::R2, Reg::R3);
        code.load(Size::D, Reg::R3, Reg::R10, WANTED);
        worker.call(step);
        let code = &mut worker.code;
        code.branch(Cond::Le, Reg::R0, YES as i32, done);
        code.mov(at, Reg::R0);
        code.alu(Alu::Add, round, 1);
        code.branch(Cond::Lt, round, CALLS, again);
        code.mov(Reg::R0, NO as i32);
        code.bind(done);
        worker.answer(Reg::R0);
    })
}

/// `u64 step(context, place | end << 32, kind)`: the place behind the next options, which is above any
/// answer, or [`NO`] or [`YES`].
fn emit_step(worker: &mut Worker) {
    /// An option's kind and length.
    const OPTION: i16 = -2;
    const WANTED: i16 = -12;
    const SPARE: i16 = -20;
    let (at, end, round) = (Reg::R7, Reg::R8, Reg::R9);
    let [again, single, next, no, yes] = [(); 5].map(|()| worker.code.label());
    worker.code.store(Size::W, Reg::R10, WANTED, Reg::R3);
    worker.split(Reg::R2, at, end);
    worker.code.mov(round, 0);
    worker.code.bind(again);
    worker.bytes(at, end, 1, OPTION, no);
    let code = &mut worker.code;
    code.load(Size::B, Reg::R1, Reg::R10, OPTION);
    code.load(Size::W, Reg::R2, Reg::R10, WANTED);
    code.branch(Cond::Eq, Reg::R1, Reg::R2, yes);
    code.branch(Cond::Lt, Reg::R1, 2, single);
    worker.bytes(at, end, 2, OPTION, no);
    let code = &mut worker.code;
    code.load(Size::B, Reg::R1, Reg::R10, OPTION + 1);
    code.branch(Cond::Eq, Reg::R1, 0, single);
    code.alu(Alu::Add, at, Reg::R1);
    code.jump(next);
    code.bind(single);
    code.alu(Alu::Add, at, 1);
    code.bind(next);
    forget(code, at, SPARE);
    code.alu(Alu::Add, round, 1);
    code.branch(Cond::Lt, round, OPTIONS, again);
    worker.answer(at);
    worker.code.bind(no);
    worker.answer(NO as i32);
    worker.code.bind(yes);
    worker.answer(YES as i32);
}

impl fmt::Display for FindOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dccp option {}", self.0)
    }
}
