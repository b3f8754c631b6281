//! `rt_mt6` of net/ipv6/netfilter/ip6t_rt.c: the routing header.

use std::fmt;
use std::net::Ipv6Addr;

use ipt2bpf_parser::matches::rt::Rt;
use ipt2bpf_parser::range::Range;

use super::super::{BROKEN, Context, MatchMeaning, NO, Refusal, YES, found};
use super::options::{HEADER, emit_options_length};
use super::{
    AT, Broken, answer, emit_equal, emit_find, emit_range, emit_whole, find, finder, is_in,
    is_number, kind, plain,
};
use crate::asm::{Alu, Cond, FunctionId, Imm64, Label, Reg, Size};
use crate::emit::link::{self, Body, Call, Constant, Linker};
use crate::emit::worker::{forget, join};
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Step;

/// The map of the addresses.
const ADDRESSES: &str = ".rodata.rt";

impl MatchMeaning for Rt {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let addresses = self.addresses.as_ref();
        let routine = Routing {
            kind: self.kind.as_ref().map(plain),
            segments_left: plain(&self.segments_left),
            length: self.length.as_ref().map(plain),
            reserved: self.reserved,
            addresses: addresses.map(|it| (it.list.clone(), it.strict)),
        };
        Ok(found(routine, false))
    }
}

/// The first routing header is as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Routing {
    kind: Option<(u32, bool)>,
    segments_left: (Range<u32>, bool),
    /// In bytes.
    length: Option<(u32, bool)>,
    reserved: bool,
    /// Addresses that it holds, and whether it holds no other.
    addresses: Option<(Vec<Ipv6Addr>, bool)>,
}

impl Routing {
    fn holds(&self, bytes: &[u8]) -> Result<bool, Broken> {
        let Some(at) = find(bytes, kind::ROUTING)? else {
            return Ok(false);
        };
        let length = 8 * (usize::from(bytes[at + 1]) + 1);
        let header = bytes.get(at..at + length).ok_or(Broken)?;
        let addresses = header[8..].as_chunks::<16>().0;
        let listed = match &self.addresses {
            None => true,
            Some((list, true)) => list
                .iter()
                .map(Ipv6Addr::octets)
                .eq(addresses.iter().copied()),
            Some((list, false)) => {
                let mut found = addresses.iter();
                list.iter()
                    .all(|wanted| found.any(|it| *it == wanted.octets()))
            }
        };
        Ok(is_in(&self.segments_left, header[3].into())
            && is_number(&self.length, length as u32)
            && is_number(&self.kind, header[2].into())
            && !(self.reserved && header[4..8] != [0; 4])
            && listed)
    }

    fn constant(list: &[Ipv6Addr]) -> Constant {
        Constant {
            map: ADDRESSES,
            bytes: list.iter().flat_map(Ipv6Addr::octets).collect(),
        }
    }
}

impl Perform for Routing {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        answer(self.holds(packet.bytes()))
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let finder = finder(linker);
        let addresses = self.addresses.as_ref();
        let addresses = addresses.map(|(list, strict)| (list, *strict, follower(linker, list)));
        let function = linker.function("rt", 0, |body| {
            let (no, broken, length) = (body.code.label(), body.code.label(), Reg::R9);
            emit_find(body, finder, kind::ROUTING, no, broken);
            body.bytes(AT, 4, HEADER, broken);
            let code = &mut body.code;
            emit_options_length(code, length);
            emit_whole(code, length, broken);
            code.load(Size::B, Reg::R2, Reg::R10, HEADER + 3);
            let (Range { low, high }, negated) = self.segments_left;
            emit_range(code, Reg::R2, low, high, negated, no);
            if let Some((wanted, negated)) = self.length {
                emit_equal(code, length, wanted, negated, no);
            }
            if let Some((wanted, negated)) = self.kind {
                code.load(Size::B, Reg::R2, Reg::R10, HEADER + 2);
                emit_equal(code, Reg::R2, wanted, negated, no);
            }
            if self.reserved {
                code.alu(Alu::Add, AT, 4);
                body.bytes(AT, 4, HEADER, broken);
                let code = &mut body.code;
                code.load(Size::W, Reg::R1, Reg::R10, HEADER);
                code.branch32(Cond::Ne, Reg::R1, 0, no);
                code.alu(Alu::Sub, AT, 4);
            }
            if let Some((list, strict, follower)) = addresses {
                if strict {
                    let words = 2 * list.len() as i32 + 1;
                    code_addresses_only(body, length, words, no);
                }
                emit_follow(body, follower, length, no);
            }
            body.answer(YES as i32);
            body.code.bind(no);
            body.answer(NO as i32);
            body.code.bind(broken);
            body.answer(BROKEN as i32);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn constants(&self) -> Vec<Constant> {
        let addresses = self.addresses.iter();
        addresses.map(|(list, _)| Self::constant(list)).collect()
    }
}

/// Goes to `no` unless the header has room for just so many words of 8 bytes, or half an address more.
fn code_addresses_only(body: &mut Body, length: Reg, words: i32, no: Label) {
    let code = &mut body.code;
    code.mov(Reg::R1, length);
    code.alu(Alu::Sub, Reg::R1, 8 * words);
    code.branch(Cond::Gt, Reg::R1, 8, no);
}

/// Goes to `no` unless the follower says yes.
fn emit_follow(body: &mut Body, follower: FunctionId, length: Reg, no: Label) {
    body.frame_offset(Reg::R2);
    let code = &mut body.code;
    code.alu(Alu::Add, Reg::R2, AT);
    code.mov(Reg::R3, Reg::R2);
    code.alu(Alu::Add, Reg::R3, length);
    code.alu(Alu::Add, Reg::R2, 8);
    join(code, Reg::R2, Reg::R3);
    code.mov(Reg::R1, link::CONTEXT);
    code.call_function(follower);
    code.branch(Cond::Eq, Reg::R0, NO as i32, no);
}

/// `u64 follow(context, place of the first address | end << 32)`: whether all addresses of the list come
/// in this order, with or without others between them.
fn follower(linker: &mut Linker<'_>, list: &[Ipv6Addr]) -> FunctionId {
    const ADDRESS: i16 = -16;
    const END: i16 = -20;
    const SPARE: i16 = -28;
    /// What the longest header holds.
    const MOST: i32 = 127;
    let constant = Routing::constant(list);
    let place = linker.constant(&constant);
    let count = list.len() as i32;
    linker.worker("rt_addresses", 1, |worker| {
        let (at, found, round, end) = (Reg::R7, Reg::R8, Reg::R9, Reg::R3);
        let [again, next, no, yes] = [(); 4].map(|()| worker.code.label());
        worker.split(Reg::R2, at, end);
        let code = &mut worker.code;
        code.store(Size::W, Reg::R10, END, end);
        code.mov(found, 0);
        code.mov(round, 0);
        code.bind(again);
        code.load(Size::W, Reg::R5, Reg::R10, END);
        worker.bytes(at, Reg::R5, 16, ADDRESS, no);
        let code = &mut worker.code;
        // It is less; the verifier wants to see it.
        code.branch(Cond::Ge, found, count, yes);
        code.mov(Reg::R2, found);
        code.alu(Alu::Lsh, Reg::R2, 4);
        code.load_imm64(Reg::R1, Imm64::MapValue(place.map, place.offset));
        code.alu(Alu::Add, Reg::R1, Reg::R2);
        for half in [0, 8] {
            code.load(Size::D, Reg::R2, Reg::R1, half);
            code.load(Size::D, Reg::R3, Reg::R10, ADDRESS + half);
            code.branch(Cond::Ne, Reg::R2, Reg::R3, next);
        }
        code.alu(Alu::Add, found, 1);
        code.branch(Cond::Ge, found, count, yes);
        code.bind(next);
        forget(code, found, SPARE);
        code.alu(Alu::Add, at, 16);
        forget(code, at, SPARE);
        code.alu(Alu::Add, round, 1);
        code.branch(Cond::Lt, round, MOST, again);
        code.bind(no);
        worker.answer(NO as i32);
        worker.code.bind(yes);
        worker.answer(YES as i32);
    })
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, negated) = self.segments_left;
        let not = if negated { "not " } else { "" };
        write!(f, "routing header, segments left {not}{left}")?;
        for (name, option) in [("type", self.kind), ("bytes", self.length)] {
            if let Some((number, negated)) = option {
                let not = if negated { "not " } else { "" };
                write!(f, ", {name} {not}{number}")?;
            }
        }
        if self.reserved {
            f.write_str(", nothing reserved")?;
        }
        if let Some((list, strict)) = &self.addresses {
            let list: Vec<String> = list.iter().map(Ipv6Addr::to_string).collect();
            let only = if *strict { "only " } else { "" };
            write!(f, ", {only}{}", list.join(" "))?;
        }
        Ok(())
    }
}
