//! `match_packet` of net/netfilter/xt_sctp.c: the chunks of an SCTP packet.

use std::collections::BTreeMap;
use std::fmt;

use ipt2bpf_parser::matches::sctp::{ChunkFlags, ChunkList, Chunks, Relation};

use super::{BROKEN, NO, YES};
use crate::asm::{Alu, Cond, FunctionId, Imm64, Reg, Size};
use crate::emit::link::{self, Call, Linker};
use crate::emit::worker::{Worker, forget, join};
use crate::field::{Field, layout};
use crate::packet::Packet;
use crate::routine::{Perform, World};

/// Bytes in front of the first chunk (RFC 9260, section 3.1).
const COMMON_HEADER: usize = 12;

/// Whether the chunks of the packet relate to a list as wanted. The packet has a whole common header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FindChunks {
    relation: Relation,
    /// The flags by type, as far as they are tested.
    list: BTreeMap<u8, ChunkFlags>,
}

impl FindChunks {
    /// The routine for `--chunk-types`.
    pub fn new(chunks: &Chunks) -> Self {
        let list = match &chunks.list {
            ChunkList::Everything => (0..=u8::MAX)
                .map(|kind| (kind, ChunkFlags::default()))
                .collect(),
            ChunkList::Types(types) => types.clone(),
        };
        FindChunks {
            relation: chunks.relation,
            list,
        }
    }

    /// Whether a chunk is on the list with the flags that are wanted.
    fn listed(&self, kind: u8, flags: u8) -> bool {
        let wanted = self.list.get(&kind);
        wanted.is_some_and(|wanted| flags & wanted.mask == wanted.set)
    }

    fn find(&self, bytes: &[u8], mut at: usize) -> u32 {
        let mut missing: Vec<u8> = self.list.keys().copied().collect();
        loop {
            let Some(&[kind, flags, high, low]) = bytes.get(at..).and_then(|it| it.first_chunk())
            else {
                return BROKEN;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 {
                return BROKEN;
            }
            at += length.next_multiple_of(4);
            match (self.relation, self.listed(kind, flags)) {
                (Relation::Any, true) => return YES,
                (Relation::Only, false) => return NO,
                (Relation::All, true) => missing.retain(|it| *it != kind),
                _ => {}
            }
            if at >= bytes.len() {
                return match self.relation {
                    Relation::Any => NO,
                    Relation::Only => YES,
                    Relation::All => missing.is_empty().into(),
                };
            }
        }
    }
}

/// The state of a walk over chunks: the place of the next one in the low 32 bits, and above them a bit for
/// each type of [`GROUP`] that was seen. What is below zero is the end, with the answer in the low bits.
const DONE: u64 = 1 << 63;
/// Types that one walk looks for.
const GROUP: usize = 31;
/// Chunks in one call, and calls for the longest packet of the shortest chunks.
const CHUNKS: i32 = 16;
/// See [`CHUNKS`].
const CALLS: i32 = 1024;
const _: () = assert!(4 * CHUNKS * CALLS > u16::MAX as i32);

impl Perform for FindChunks {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        self.find(packet.bytes(), packet.transport() + COMMON_HEADER)
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let rows: Vec<(u8, ChunkFlags)> = self
            .list
            .iter()
            .map(|(&kind, &flags)| (kind, flags))
            .collect();
        // Only `all` has to remember what it saw, and may take several walks for it.
        let group = match self.relation {
            Relation::All => GROUP,
            Relation::Any | Relation::Only => rows.len().max(1),
        };
        let mut groups: Vec<&[(u8, ChunkFlags)]> = rows.chunks(group).collect();
        if groups.is_empty() {
            groups.push(&[]);
        }
        let walks: Vec<FunctionId> = groups.iter().map(|rows| self.walk(linker, rows)).collect();
        let function = linker.function("sctp_chunks", 0, |body| {
            const SPAN: i16 = -8;
            let out = body.code.label();
            body.frame_offset(Reg::R1);
            let code = &mut body.code;
            code.load(Size::W, Reg::R3, link::PACKET, layout::LENGTH);
            code.alu(Alu::Add, Reg::R3, Reg::R1);
            code.load(Size::H, Reg::R2, link::PACKET, layout::TRANSPORT);
            code.alu(Alu::Add, Reg::R2, Reg::R1);
            code.alu(Alu::Add, Reg::R2, COMMON_HEADER as i32);
            join(code, Reg::R2, Reg::R3);
            code.store(Size::D, Reg::R10, SPAN, Reg::R2);
            for walk in walks {
                let code = &mut body.code;
                code.mov(Reg::R1, link::CONTEXT);
                code.load(Size::D, Reg::R2, Reg::R10, SPAN);
                code.call_function(walk);
                code.branch(Cond::Ne, Reg::R0, YES as i32, out);
            }
            body.code.bind(out);
            body.answer(Reg::R0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::TransportLength]
    }
}

impl FindChunks {
    /// `u64 walk(context, place | end << 32)`: the answer for the whole packet.
    fn walk(&self, linker: &mut Linker<'_>, rows: &[(u8, ChunkFlags)]) -> FunctionId {
        let step = linker.worker("sctp_step", 2, |worker| self.emit_step(worker, rows));
        linker.worker("sctp_walk", 1, |worker| {
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
            worker.answer(BROKEN as i32);
            worker.code.bind(done);
            worker.code.alu(Alu::And, state, 3);
            worker.answer(state);
        })
    }

    /// `u64 step(context, end, state)`: the state behind the next chunks.
    fn emit_step(&self, worker: &mut Worker, rows: &[(u8, ChunkFlags)]) {
        /// The first bytes of a chunk.
        const CHUNK: i16 = -4;
        const ROUND: i16 = -16;
        const SPARE: i16 = -20;
        let (end, at, seen, round) = (Reg::R7, Reg::R8, Reg::R9, Reg::R3);
        let (kind, flags) = (Reg::R1, Reg::R2);
        let [again, next, last, yes, no, broken] = [(); 6].map(|()| worker.code.label());
        let (listed, other) = match self.relation {
            Relation::Any => (yes, next),
            Relation::Only => (next, no),
            Relation::All => (next, next),
        };
        let code = &mut worker.code;
        code.mov(end, Reg::R2);
        code.mov(seen, Reg::R3);
        code.alu32(Alu::Mov, at, Reg::R3);
        code.alu(Alu::Rsh, seen, 32);
        code.store(Size::D, Reg::R10, ROUND, 0);
        code.bind(again);
        worker.bytes(at, end, 4, CHUNK, broken);
        let code = &mut worker.code;
        code.load(Size::H, Reg::R1, Reg::R10, CHUNK + 2);
        code.to_big_endian(Reg::R1, 16);
        code.branch(Cond::Eq, Reg::R1, 0, broken);
        code.alu(Alu::Add, Reg::R1, 3);
        code.alu(Alu::And, Reg::R1, 0x1fffc);
        code.alu(Alu::Add, at, Reg::R1);
        forget(code, at, SPARE);
        code.load(Size::B, kind, Reg::R10, CHUNK);
        code.load(Size::B, flags, Reg::R10, CHUNK + 1);
        // All types or none: branches that always or never go keep what follows in reach.
        match rows.len() {
            0 => code.branch(Cond::Gt, kind, 255, listed),
            256 => code.branch(Cond::Le, kind, 255, listed),
            _ => {
                for (number, (row, wanted)) in rows.iter().enumerate() {
                    let different = code.label();
                    code.branch(Cond::Ne, kind, i32::from(*row), different);
                    if wanted.mask != 0 {
                        code.alu(Alu::And, flags, i32::from(wanted.mask));
                        code.branch(Cond::Ne, flags, i32::from(wanted.set), other);
                    }
                    if self.relation == Relation::All {
                        code.alu(Alu::Or, seen, 1 << number);
                        forget(code, seen, SPARE);
                    }
                    code.jump(listed);
                    code.bind(different);
                }
            }
        }
        code.jump(other);
        code.bind(next);
        code.branch(Cond::Ge, at, end, last);
        code.load(Size::D, round, Reg::R10, ROUND);
        code.alu(Alu::Add, round, 1);
        code.store(Size::D, Reg::R10, ROUND, round);
        code.branch(Cond::Lt, round, CHUNKS, again);
        code.mov(Reg::R0, at);
        join(code, Reg::R0, seen);
        worker.answer(Reg::R0);
        let code = &mut worker.code;
        code.bind(last);
        match self.relation {
            Relation::Any => code.jump(no),
            Relation::Only => code.jump(yes),
            Relation::All => {
                let all = (1u32 << rows.len().min(GROUP)) - 1;
                code.branch(Cond::Eq, seen, all as i32, yes);
                code.jump(no);
            }
        }
        for (label, answer) in [(broken, BROKEN), (yes, YES), (no, NO)] {
            worker.code.bind(label);
            let done = Imm64::Number(DONE | u64::from(answer));
            worker.code.load_imm64(Reg::R0, done);
            worker.answer(Reg::R0);
        }
    }
}

impl fmt::Display for FindChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = match self.relation {
            Relation::Any => "any",
            Relation::All => "all",
            Relation::Only => "only",
        };
        write!(f, "chunks {relation} of")?;
        for (kind, flags) in &self.list {
            write!(f, " {kind}")?;
            if flags.mask != 0 {
                write!(f, ":{:#04x}/{:#04x}", flags.set, flags.mask)?;
            }
        }
        Ok(())
    }
}
