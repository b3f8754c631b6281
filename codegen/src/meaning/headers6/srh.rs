//! `srh1_mt6` of net/ipv6/netfilter/ip6t_srh.c: the segment routing header. A packet without a whole one
//! does not match, and is never dropped for that.

use std::fmt;

use ipt2bpf_parser::matches::srh::{Asked, FieldTests, Segment, Srh};

use super::super::{Context, MatchMeaning, NO, Refusal, YES};
use super::{AT, emit_equal, emit_find, emit_range, emit_whole, find, finder, kind, plain};
use crate::asm::{Alu, Code, Cond, Label, Reg, Size};
use crate::emit::link::{Body, Call, Linker};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

impl MatchMeaning for Srh {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let routine = SegmentRouting {
            next_header: self.next_header.as_ref().map(plain),
            fields: [
                (LENGTH, self.header_length),
                (SEGMENTS_LEFT, self.segments_left),
                (LAST_ENTRY, self.last_entry),
            ],
            tag: self.tag.as_ref().map(plain),
            previous: self.previous_segment.as_ref().map(plain),
            next: self.next_segment.as_ref().map(plain),
            last: self.last_segment.as_ref().map(plain),
        };
        Ok(vec![
            Step::Ask(routine.into()),
            Step::require(Test::equal(Field::Answer, YES)),
        ])
    }
}

/// Bytes of the header (RFC 8754, section 2).
const LENGTH: u8 = 1;
const TYPE: u8 = 2;
const SEGMENTS_LEFT: u8 = 3;
const LAST_ENTRY: u8 = 4;
const TAG: u8 = 6;
const SEGMENTS: usize = 8;
/// `IPV6_SRCRT_TYPE_4`
const SEGMENT_ROUTING: u8 = 4;

/// The first routing header is a segment routing header as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SegmentRouting {
    next_header: Option<(u8, bool)>,
    /// Bytes of the header, and what is asked of them.
    fields: [(u8, FieldTests); 3],
    /// As the tool stores it, in the byte order of the machine; the kernel compares the packet's two
    /// bytes with it as they are.
    tag: Option<(u16, bool)>,
    previous: Option<(Segment, bool)>,
    next: Option<(Segment, bool)>,
    last: Option<(Segment, bool)>,
}

impl SegmentRouting {
    fn holds(&self, bytes: &[u8]) -> Option<bool> {
        let at = find(bytes, kind::ROUTING).ok()??;
        let header: &[u8; 8] = bytes.get(at..)?.first_chunk()?;
        let byte = |number: u8| header[usize::from(number)];
        let length = 8 * (usize::from(byte(LENGTH)) + 1);
        bytes.get(at..at + length)?;
        let left = byte(SEGMENTS_LEFT);
        if byte(TYPE) != SEGMENT_ROUTING || left > byte(LAST_ENTRY) {
            return None;
        }
        let segment = |wanted: &Option<(Segment, bool)>, number: Option<usize>| match wanted {
            None => Some(true),
            Some((wanted, negated)) => {
                let found = bytes.get(at + SEGMENTS + 16 * number?..)?.first_chunk()?;
                let differing = u128::from_be_bytes(*found) ^ wanted.address.to_bits();
                Some((differing & mask(wanted.prefix) == 0) != *negated)
            }
        };
        let tag = u16::from_le_bytes([byte(TAG), byte(TAG + 1)]);
        let number = usize::from(left);
        Some(
            self.next_header
                .is_none_or(|(wanted, negated)| (header[0] == wanted) != negated)
                && self
                    .fields
                    .iter()
                    .all(|(at, tests)| asked(tests, byte(*at)))
                && self
                    .tag
                    .is_none_or(|(wanted, negated)| (tag == wanted) != negated)
                && segment(
                    &self.previous,
                    (left != byte(LAST_ENTRY)).then_some(number + 1),
                )?
                && segment(&self.next, number.checked_sub(1))?
                && segment(&self.last, Some(0))?,
        )
    }
}

fn asked(tests: &FieldTests, byte: u8) -> bool {
    [
        (tests.equal, byte == tests.value),
        (tests.greater, byte > tests.value),
        (tests.less, byte < tests.value),
    ]
    .iter()
    .all(|(asked, holds)| match asked {
        Asked::No => true,
        Asked::True => *holds,
        Asked::False => !holds,
    })
}

fn mask(prefix: u8) -> u128 {
    let rest = 128 - u32::from(prefix.min(128));
    u128::MAX.checked_shl(rest).unwrap_or(0)
}

/// Where the header, then each segment, lies on the stack.
const HEADER: i16 = -16;

impl Perform for SegmentRouting {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        self.holds(packet.bytes()).unwrap_or(false).into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let finder = finder(linker);
        let function = linker.function("srh", 0, |body| {
            let (no, left) = (body.code.label(), Reg::R9);
            emit_find(body, finder, kind::ROUTING, no, no);
            body.bytes(AT, 8, HEADER, no);
            let code = &mut body.code;
            let load = |code: &mut Code, dst, byte: u8| {
                code.load(Size::B, dst, Reg::R10, HEADER + i16::from(byte));
            };
            load(code, Reg::R1, LENGTH);
            code.alu(Alu::Add, Reg::R1, 1);
            code.alu(Alu::Lsh, Reg::R1, 3);
            emit_whole(code, Reg::R1, no);
            load(code, Reg::R1, TYPE);
            code.branch(Cond::Ne, Reg::R1, i32::from(SEGMENT_ROUTING), no);
            load(code, left, SEGMENTS_LEFT);
            load(code, Reg::R1, LAST_ENTRY);
            code.branch(Cond::Gt, left, Reg::R1, no);
            if let Some((wanted, negated)) = self.next_header {
                load(code, Reg::R2, 0);
                emit_equal(code, Reg::R2, wanted.into(), negated, no);
            }
            for (byte, tests) in &self.fields {
                load(code, Reg::R2, *byte);
                emit_asked(code, Reg::R2, tests, no);
            }
            if let Some((wanted, negated)) = self.tag {
                code.load(Size::H, Reg::R2, Reg::R10, HEADER + i16::from(TAG));
                emit_equal(code, Reg::R2, wanted.into(), negated, no);
            }
            code.alu(Alu::Add, AT, SEGMENTS as i32);
            if self.previous.is_some() {
                load(code, Reg::R1, LAST_ENTRY);
                code.branch(Cond::Eq, left, Reg::R1, no);
            }
            if self.next.is_some() {
                code.branch(Cond::Eq, left, 0, no);
            }
            for (segment, number) in [
                (&self.previous, Some(1)),
                (&self.next, Some(-1)),
                (&self.last, None),
            ] {
                if let Some((segment, negated)) = segment {
                    emit_segment(body, segment, *negated, number.map(|more| (left, more)), no);
                }
            }
            body.answer(YES as i32);
            body.code.bind(no);
            body.answer(NO as i32);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }
}

fn emit_asked(code: &mut Code, byte: Reg, tests: &FieldTests, no: Label) {
    let value = u32::from(tests.value);
    for (asked, low, high) in [
        (tests.equal, value, value),
        (tests.greater, value + 1, u32::MAX),
        (tests.less, 0, value.wrapping_sub(1)),
    ] {
        let nothing = high == u32::MAX && low == 0;
        match (asked, nothing) {
            (Asked::No, _) => {}
            // Nothing is less than zero.
            (asked, true) => emit_range(code, byte, 1, 0, asked == Asked::False, no),
            (asked, false) => emit_range(code, byte, low, high, asked == Asked::False, no),
        }
    }
}

/// Goes to `no` unless the segment is as wanted: the first, or the one this far from the number in a
/// register. Its bytes are compared as little-endian words.
fn emit_segment(
    body: &mut Body,
    segment: &Segment,
    negated: bool,
    number: Option<(Reg, i32)>,
    no: Label,
) {
    let mask = mask(segment.prefix).to_be_bytes();
    let wanted = (segment.address.to_bits() & u128::from_be_bytes(mask)).to_be_bytes();
    if let Some((left, more)) = number {
        let code = &mut body.code;
        code.mov(Reg::R1, left);
        code.alu(Alu::Add, Reg::R1, more);
        code.alu(Alu::Lsh, Reg::R1, 4);
        code.alu(Alu::Add, Reg::R1, AT);
        body.bytes(Reg::R1, 16, HEADER, no);
    } else {
        body.bytes(AT, 16, HEADER, no);
    }
    let code = &mut body.code;
    let differs = code.label();
    let other = if negated { differs } else { no };
    let words = mask
        .as_chunks::<4>()
        .0
        .iter()
        .zip(wanted.as_chunks::<4>().0);
    for (number, (mask, wanted)) in words.enumerate() {
        code.load(Size::W, Reg::R1, Reg::R10, HEADER + 4 * number as i16);
        code.alu32(Alu::And, Reg::R1, u32::from_le_bytes(*mask) as i32);
        code.branch32(Cond::Ne, Reg::R1, u32::from_le_bytes(*wanted) as i32, other);
    }
    if negated {
        code.jump(no);
        code.bind(differs);
    }
}

impl fmt::Display for SegmentRouting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("segment routing header")?;
        let not = |negated: bool| if negated { "not " } else { "" };
        if let Some((number, negated)) = self.next_header {
            write!(f, ", next {}{number}", not(negated))?;
        }
        for (name, (_, tests)) in ["words", "segments left", "last entry"]
            .iter()
            .zip(&self.fields)
        {
            for (sign, asked) in [("=", tests.equal), (">", tests.greater), ("<", tests.less)] {
                if asked != Asked::No {
                    let not = not(asked == Asked::False);
                    write!(f, ", {name} {not}{sign} {}", tests.value)?;
                }
            }
        }
        if let Some((tag, negated)) = self.tag {
            write!(f, ", tag {}{:#06x}", not(negated), tag.swap_bytes())?;
        }
        for (name, segment) in [
            ("previous", &self.previous),
            ("next", &self.next),
            ("last", &self.last),
        ] {
            if let Some((segment, negated)) = segment {
                write!(f, ", {name} {}{segment}", not(*negated))?;
            }
        }
        Ok(())
    }
}
