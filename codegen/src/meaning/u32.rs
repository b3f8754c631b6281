//! `u32_mt` of net/netfilter/xt_u32.c: big-endian words of the packet, masked, shifted, and used as
//! offsets of others.

use std::fmt;

use ipt2bpf_parser::matches::u32::{Step as Operator, Test as Words, U32};

use super::{Context, MatchMeaning, Refusal, raw};
use crate::asm::{Alu, Cond, Label, Operand, Reg, Size};
use crate::emit::link::{Body, Call, Linker};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

impl MatchMeaning for U32 {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let compare = CompareWords(self.tests.value.value.clone());
        // A word that the packet does not have makes the whole false, and its opposite true.
        let holds = Test::equal(Field::Answer, 1).negated_if(self.tests.negated);
        Ok(vec![Step::Ask(compare.into()), Step::require(holds)])
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        raw::note(context)
    }
}

/// Answers 1 when all tests hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CompareWords(Vec<Words>);

/// Where a word of the packet lies on the stack.
const WORD: i16 = -4;

impl Perform for CompareWords {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let all = self.0.iter().all(|words| {
            let value = value(words, packet.bytes());
            value.is_some_and(|value| words.values.iter().any(|range| range.contains(&value)))
        });
        all.into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("u32", 0, |body| {
            let no = body.code.label();
            for words in &self.0 {
                emit_value(body, words, no);
                emit_ranges(body, words, no);
            }
            body.answer(1);
            body.code.bind(no);
            body.answer(0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn sees_hops(&self) -> bool {
        true
    }

    fn branches(&self) -> usize {
        let of = |words: &Words| 4 * (words.steps.len() + 1) + words.values.len();
        self.0.iter().map(of).sum()
    }
}

/// The number that a test looks at; none when a word is not in the packet.
fn value(words: &Words, bytes: &[u8]) -> Option<u32> {
    let word = |at: u64| {
        let at = usize::try_from(at).ok()?;
        let word = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*word))
    };
    let mut base = 0;
    let mut value = word(words.offset.into())?;
    for step in &words.steps {
        match *step {
            Operator::And(mask) => value &= mask,
            Operator::ShiftLeft(by) => value = value.wrapping_shl(by),
            Operator::ShiftRight(by) => value = value.wrapping_shr(by),
            Operator::Move(offset) => {
                base += u64::from(value);
                value = word(base + u64::from(offset))?;
            }
        }
    }
    Some(value)
}

const VALUE: Reg = Reg::R8;
/// The sum of the moves so far. Ten of them do not overflow 64 bits; where 32 bits would, no packet is
/// that long.
const BASE: Reg = Reg::R9;

fn emit_value(body: &mut Body, words: &Words, no: Label) {
    let word = |body: &mut Body| {
        body.bytes(VALUE, 4, WORD, no);
        body.code.load(Size::W, VALUE, Reg::R10, WORD);
        body.code.to_big_endian(VALUE, 32);
    };
    body.code.mov(BASE, 0);
    body.code.alu32(Alu::Mov, VALUE, words.offset as i32);
    word(body);
    for step in &words.steps {
        let code = &mut body.code;
        match *step {
            Operator::And(mask) => code.alu32(Alu::And, VALUE, mask as i32),
            Operator::ShiftLeft(by) => code.alu32(Alu::Lsh, VALUE, (by & 31) as i32),
            Operator::ShiftRight(by) => code.alu32(Alu::Rsh, VALUE, (by & 31) as i32),
            Operator::Move(offset) => {
                code.alu(Alu::Add, BASE, VALUE);
                code.alu32(Alu::Mov, VALUE, offset as i32);
                code.alu(Alu::Add, VALUE, BASE);
                word(body);
            }
        }
    }
}

/// Falls through when the value lies in one of the ranges.
fn emit_ranges(body: &mut Body, words: &Words, no: Label) {
    let code = &mut body.code;
    let yes = code.label();
    for range in &words.values {
        code.alu32(Alu::Mov, Reg::R1, VALUE);
        code.alu32(Alu::Sub, Reg::R1, *range.start() as i32);
        let (inside, bound) = match range.end().checked_sub(*range.start()) {
            Some(width) => (Cond::Le, width),
            // Never, but what follows must be in reach.
            None => (Cond::Lt, 0),
        };
        code.branch32(inside, Reg::R1, Operand::Imm(bound as i32), yes);
    }
    code.jump(no);
    code.bind(yes);
}

impl fmt::Display for CompareWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(Words::to_string).collect();
        write!(f, "words {}", words.join("&&"))
    }
}
