//! `string_mt` of net/netfilter/xt_string.c with `skb_find_text` of net/core/skbuff.c: bytes in a window
//! of the packet that begins at its IP header.
//!
//! `bm` (lib/ts_bm.c) looks at each piece of a packet in memory by itself. How a packet lies in memory
//! depends on drivers and offloads, and no program can know it; here every packet is one piece. `kmp`
//! (lib/ts_kmp.c) is exact in any case.

use std::fmt;

use bstr::{BString, ByteSlice};
use ipt2bpf_parser::matches::string::{Algorithm, StringMatch};

use super::{Context, MatchMeaning, Refusal, raw};
use crate::asm::{Alu, Cond, FunctionId, Helper, Imm64, Label, Reg, Size};
use crate::emit::link::{self, Call, Constant, ConstantPlace, Linker};
use crate::emit::worker::{self, Worker, join};
use crate::field::{Field, layout};
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

/// The map of the search tables.
const TABLES: &str = ".rodata.string";

impl MatchMeaning for StringMatch {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let pattern = &self.pattern.value.value;
        // Letters whose capital is no letter of the same row: lib/ts_bm.c skips over them.
        let skipped = [0xdf, 0xff];
        if self.ignore_case
            && self.algorithm == Algorithm::BoyerMoore
            && skipped.iter().any(|byte| pattern.contains(byte))
        {
            return Err(Refusal {
                code: "string-case",
                reason:
                    "searches for byte 0xdf or 0xff with bm and --icase, which the kernel does not \
                         find everywhere"
                        .into(),
                help: "use --algo kmp".into(),
            });
        }
        let find = FindBytes {
            pattern: pattern.clone(),
            ignore_case: self.ignore_case,
            from: self.from,
            to: self.to,
        };
        let found = Test::equal(Field::Answer, 1).negated_if(self.pattern.negated);
        Ok(vec![Step::Ask(find.into()), Step::require(found)])
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        let pieces = (self.algorithm == Algorithm::BoyerMoore).then(|| {
            "also finds a string that lies across two pieces of a packet in memory, which the kernel's bm \
             misses and its kmp finds"
                .into()
        });
        let notes: Vec<String> = pieces.into_iter().chain(raw::note(context)).collect();
        (!notes.is_empty()).then(|| notes.join("; it "))
    }
}

/// Answers 1 when the pattern lies in the window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FindBytes {
    pattern: BString,
    ignore_case: bool,
    from: u16,
    to: u16,
}

impl Perform for FindBytes {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let bytes = packet.bytes();
        let end = bytes.len().min(self.to.into());
        let window = bytes.get(usize::from(self.from)..end).unwrap_or_default();
        let mut places = window.windows(self.pattern.len().max(1));
        let found = places.any(|place| {
            place
                .iter()
                .zip(self.pattern.iter())
                .all(|it| self.same(it))
        });
        found.into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let machine = self.machine();
        let table = linker.constant(&machine.table());
        let chunk = linker.worker("string_chunk", 3, |worker| {
            emit_chunk(worker, &machine, table);
        });
        let span = linker.worker("string_span", 3, |worker| {
            emit_repeat(worker, chunk, CHUNK.into(), CHUNKS);
        });
        let search = linker.worker("string_search", 3, |worker| {
            emit_repeat(worker, span, i32::from(CHUNK) * CHUNKS, SPANS);
        });
        let function = linker.function("string", 3, |body| {
            let (from, to, table) = (Reg::R3, Reg::R4, Reg::R5);
            let (place, end) = (Reg::R2, Reg::R0);
            let code = &mut body.code;
            let (inside, none) = (code.label(), code.label());
            code.load(Size::W, end, link::PACKET, layout::LENGTH);
            code.branch(Cond::Le, end, to, inside);
            code.mov(end, to);
            code.bind(inside);
            code.branch(Cond::Ge, from, end, none);
            body.frame_offset(place);
            let code = &mut body.code;
            code.alu(Alu::Add, end, place);
            code.alu(Alu::Add, place, from);
            join(code, place, end);
            code.mov(Reg::R1, link::CONTEXT);
            code.mov(Reg::R3, table);
            code.mov(Reg::R4, 0);
            code.call_function(search);
            code.alu(Alu::Rsh, Reg::R0, 63);
            body.answer(Reg::R0);
            body.code.bind(none);
            body.answer(0);
        });
        Call {
            function,
            arguments: vec![self.from.into(), self.to.into(), table.offset],
        }
    }

    fn constants(&self) -> Vec<Constant> {
        vec![self.machine().table()]
    }

    fn sees_hops(&self) -> bool {
        true
    }

    fn branches(&self) -> usize {
        2
    }
}

/// Bytes that are searched at once: what a stack frame of the least size holds.
const CHUNK: i16 = 32;
/// Chunks in a span.
const CHUNKS: i32 = 64;
/// Spans in the longest window, of 64 KiB.
const SPANS: i32 = 32;
const _: () = assert!(CHUNK as i32 * CHUNKS * SPANS > u16::MAX as i32);

/// The bit of a search's state that says that the pattern was found.
const FOUND: u64 = 1 << 63;

/// How a byte changes the state of a search.
enum Machine {
    /// Shift-And, for up to 64 bytes: bit 63 of the state says that the whole pattern was seen last, each
    /// bit in front of it that the pattern less a byte more of its end was. The table has the bit of the
    /// pattern's first byte, then for each byte the bits of the places where it may stand.
    Bits { start: u64, places: Vec<u64> },
    /// Knuth, Morris and Pratt: the state is the number of the pattern's bytes that were seen last. The
    /// table has a row of 256 next states for each of 128; [`WHOLE`] is the end.
    States { rows: Vec<u8> },
}

/// The next state in [`Machine::States`] when the whole pattern was seen.
const WHOLE: u8 = 0x80;

impl Machine {
    fn table(&self) -> Constant {
        let bytes = match self {
            Machine::Bits { start, places } => {
                let words = std::iter::once(start).chain(places);
                words.flat_map(|word| word.to_le_bytes()).collect()
            }
            Machine::States { rows } => rows.clone(),
        };
        Constant { map: TABLES, bytes }
    }
}

impl FindBytes {
    fn same(&self, (a, b): (&u8, &u8)) -> bool {
        match self.ignore_case {
            true => upper(*a) == upper(*b),
            false => a == b,
        }
    }

    fn machine(&self) -> Machine {
        let Some(first) = 64usize.checked_sub(self.pattern.len()) else {
            return Machine::States { rows: self.rows() };
        };
        let places = (0..=u8::MAX).map(|byte| {
            let bits = self.pattern.iter().zip(first..);
            let places = bits.filter(|(other, _)| self.same((&byte, other)));
            places.fold(0, |word, (_, bit)| word | 1 << bit)
        });
        Machine::Bits {
            start: 1 << first.min(63),
            places: places.collect(),
        }
    }

    /// The rows of [`Machine::States`]. Where a byte does not lead on from a state, the next state is that
    /// of the longest end of what was seen that begins the pattern.
    fn rows(&self) -> Vec<u8> {
        let pattern = &self.pattern[..self.pattern.len().min(128)];
        let mut rows = vec![0; 128 * 256];
        let mut shorter = 0;
        for (state, expected) in pattern.iter().enumerate() {
            if state > 0 {
                rows.copy_within(shorter * 256..(shorter + 1) * 256, state * 256);
                shorter = usize::from(rows[shorter * 256 + usize::from(*expected)]);
            }
            let next = match state + 1 == pattern.len() {
                true => WHOLE,
                false => state as u8 + 1,
            };
            for byte in 0..=u8::MAX {
                if self.same((&byte, expected)) {
                    rows[state * 256 + usize::from(byte)] = next;
                }
            }
        }
        rows
    }
}

/// `u64 chunk(context, place | end << 32, table, state)`: the state behind the next chunk, or behind the
/// end.
fn emit_chunk(worker: &mut Worker, machine: &Machine, table: ConstantPlace) {
    let (left, base, state, start) = (Reg::R6, Reg::R7, Reg::R8, Reg::R9);
    let code = &mut worker.code;
    let (out, found) = (code.label(), code.label());
    code.mov(state, Reg::R4);
    let last = table
        .size
        .saturating_sub(machine.table().bytes.len() as u32);
    code.branch(Cond::Gt, Reg::R3, last as i32, out);
    code.load_imm64(base, Imm64::MapValue(table.map, 0));
    code.alu(Alu::Add, base, Reg::R3);
    if let Machine::Bits { .. } = machine {
        code.load(Size::D, start, base, 0);
    }
    worker.split(Reg::R2, Reg::R4, Reg::R0);
    let code = &mut worker.code;
    code.mov(Reg::R2, Reg::R4);
    code.branch(Cond::Le, Reg::R0, Reg::R2, out);
    code.alu(Alu::Sub, Reg::R0, Reg::R2);
    emit_open(worker, left, out);
    let code = &mut worker.code;
    for byte in 0..CHUNK {
        if byte > 0 {
            code.branch(Cond::Le, left, i32::from(byte), out);
        }
        match worker.hook {
            Hook::Xdp => {
                code.mov(Reg::R4, Reg::R2);
                code.alu(Alu::Add, Reg::R4, i32::from(byte) + 1);
                code.branch(Cond::Gt, Reg::R4, Reg::R3, out);
                code.load(Size::B, Reg::R1, Reg::R2, byte);
            }
            Hook::CgroupIngress | Hook::CgroupEgress => {
                code.load(Size::B, Reg::R1, Reg::R10, byte - CHUNK);
            }
        }
        match machine {
            Machine::Bits { .. } => {
                code.alu(Alu::Lsh, Reg::R1, 3);
                code.alu(Alu::Add, Reg::R1, base);
                code.load(Size::D, Reg::R1, Reg::R1, 8);
                code.alu(Alu::Lsh, state, 1);
                code.alu(Alu::Or, state, start);
                code.alu(Alu::And, state, Reg::R1);
                code.branch(Cond::Slt, state, 0, out);
            }
            Machine::States { .. } => {
                code.alu(Alu::Lsh, state, 8);
                code.alu(Alu::Or, state, Reg::R1);
                code.alu(Alu::And, state, 0x7fff);
                code.alu(Alu::Add, state, base);
                code.load(Size::B, state, state, 0);
                code.branch(Cond::Set, state, i32::from(WHOLE), found);
            }
        }
    }
    code.bind(out);
    worker.answer(state);
    if let Machine::States { .. } = machine {
        worker.code.bind(found);
        worker.code.load_imm64(Reg::R1, Imm64::Number(FOUND));
        worker.answer(Reg::R1);
    }
}

/// Makes the bytes of a chunk at the place in R2, of which R0 are left, readable: at XDP behind R2 and in
/// front of R3, elsewhere on the stack. R6 is lost for `left`.
fn emit_open(worker: &mut Worker, left: Reg, out: Label) {
    let code = &mut worker.code;
    match worker.hook {
        Hook::Xdp => {
            worker::pointer(code, worker::CONTEXT, out);
            code.mov(left, Reg::R0);
        }
        Hook::CgroupIngress | Hook::CgroupEgress => {
            let part = code.label();
            code.mov(Reg::R4, Reg::R0);
            code.branch(Cond::Lt, Reg::R4, 1, out);
            code.branch(Cond::Le, Reg::R4, i32::from(CHUNK), part);
            code.mov(Reg::R4, i32::from(CHUNK));
            code.bind(part);
            for offset in (0..CHUNK).step_by(8) {
                code.store(Size::D, Reg::R10, offset - CHUNK, 0);
            }
            code.mov(Reg::R1, worker::CONTEXT);
            code.mov(Reg::R3, Reg::R10);
            code.alu(Alu::Add, Reg::R3, -i32::from(CHUNK));
            code.mov(left, Reg::R4);
            code.call(Helper::SkbLoadBytes);
            code.branch(Cond::Ne, Reg::R0, 0, out);
        }
    }
}

/// `u64 repeat(context, place | end << 32, table, state)`: calls a function of the same kind, each time
/// this many bytes on, until it has found something, the end is reached, or so many times.
fn emit_repeat(worker: &mut Worker, function: FunctionId, stride: i32, times: i32) {
    const TABLE: i16 = -8;
    let (span, state, round) = (Reg::R7, Reg::R8, Reg::R9);
    let code = &mut worker.code;
    let (again, out) = (code.label(), code.label());
    code.mov(span, Reg::R2);
    code.store(Size::D, Reg::R10, TABLE, Reg::R3);
    code.mov(state, Reg::R4);
    code.mov(round, 0);
    code.bind(again);
    code.mov(Reg::R2, span);
    code.load(Size::D, Reg::R3, Reg::R10, TABLE);
    code.mov(Reg::R4, state);
    worker.call(function);
    let code = &mut worker.code;
    code.mov(state, Reg::R0);
    code.branch(Cond::Slt, state, 0, out);
    // The place stays far below 32 bits.
    code.alu(Alu::Add, span, stride);
    worker.split(span, Reg::R1, Reg::R2);
    let code = &mut worker.code;
    code.branch(Cond::Ge, Reg::R1, Reg::R2, out);
    code.alu(Alu::Add, round, 1);
    code.branch(Cond::Lt, round, times, again);
    code.bind(out);
    worker.answer(state);
}

/// The kernel's `toupper`, for Latin-1 (lib/ctype.c): the small sharp s and the y with diaeresis count as
/// small letters, whatever stands 32 places in front of them.
fn upper(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff => byte - 32,
        _ => byte,
    }
}

impl fmt::Display for FindBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = if self.ignore_case { " in any case" } else { "" };
        write!(
            f,
            "find \"{}\"{case} from {} to {}",
            self.pattern.escape_bytes(),
            self.from,
            self.to
        )
    }
}
