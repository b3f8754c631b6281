//! The function that asks a set that can be changed.

use ipt2bpf_parser::matches::set::Side;
use ipt2bpf_parser::ruleset::Family;

use super::part::{KEY, Parts};
use crate::asm::{Alu, Cond, FunctionId, Helper, Imm64, Label, Reg, Size};
use crate::emit::link::{Body, Constant, Linker};
use crate::sets::Known;
use crate::sets::live::{ANSWER, LiveShape, SETS_MAP, description, map_name};
use crate::sets::table::Answer;

/// The length of the prefix stands in front of the key.
const PREFIX: i16 = KEY - 4;

/// Asks the map of a set: the function gives [`Answer::number`].
pub fn elements(
    linker: &mut Linker<'_>,
    set: &Known,
    shape: &LiveShape,
    sides: &[Side],
) -> FunctionId {
    let map = linker.map(&map_name(set.number), shape.map());
    let family = linker.family;
    linker.function("live_set", 0, |body| {
        let missing = body.code.label();
        key(body, family, shape, sides, missing);
        let key = match shape.is_trie {
            true => {
                let bits = 8 * shape.key_size() as i32;
                body.code.store(Size::W, Reg::R10, PREFIX, bits);
                PREFIX
            }
            false => KEY,
        };
        body.code.load_imm64(Reg::R1, Imm64::Map(map));
        body.stack(Reg::R2, key);
        let code = &mut body.code;
        code.call(Helper::MapLookupElem);
        code.branch(Cond::Eq, Reg::R0, 0, missing);
        if shape.is_timed() {
            let stays = code.label();
            code.load(Size::D, Reg::R8, Reg::R0, 0);
            code.mov(Reg::R9, Reg::R0);
            code.branch(Cond::Eq, Reg::R8, 0, stays);
            code.call(Helper::KtimeGetNs);
            code.branch(Cond::Gt, Reg::R0, Reg::R8, missing);
            code.bind(stays);
            code.mov(Reg::R0, Reg::R9);
        }
        code.load(Size::W, Reg::R1, Reg::R0, ANSWER);
        body.answer(Reg::R1);
        body.code.bind(missing);
        body.answer(Answer::No.number() as i32);
    })
}

/// Puts the key of a packet on the stack at [`KEY`], under the masks of the set; goes to `missing` where the
/// packet lacks a part.
pub fn key(body: &mut Body, family: Family, shape: &LiveShape, sides: &[Side], missing: Label) {
    let parts = shape
        .parts
        .iter()
        .filter_map(|&(dimension, place)| Some((dimension, *sides.get(place)?)));
    Parts {
        body,
        family,
        missing,
    }
    .key(parts);
    let (words, _) = shape.mask[..shape.key_size()].as_chunks::<4>();
    for (word, at) in words.iter().zip((KEY..).step_by(4)) {
        let mask = u32::from_le_bytes(*word);
        if mask != u32::MAX {
            let code = &mut body.code;
            code.load(Size::W, Reg::R1, Reg::R10, at);
            code.alu32(Alu::And, Reg::R1, mask.cast_signed());
            code.store(Size::W, Reg::R10, at, Reg::R1);
        }
    }
}

/// What tells a loader which map is which set.
pub fn constant(set: &Known) -> Constant {
    Constant {
        map: SETS_MAP,
        bytes: description(set.number, &set.create),
    }
}
