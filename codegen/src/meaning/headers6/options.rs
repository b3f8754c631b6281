//! `hbh_mt6` of net/ipv6/netfilter/ip6t_hbh.c: the hop-by-hop and destination options headers.

use std::fmt;

use ipt2bpf_parser::header_options::{HeaderOption, HeaderTest};
use ipt2bpf_parser::matches::dst::Dst;
use ipt2bpf_parser::matches::hbh::Hbh;

use super::super::{BROKEN, Context, MatchMeaning, NO, Refusal, YES, found};
use super::{
    AT, Broken, answer, emit_equal, emit_find, emit_whole, find, finder, is_number, kind, plain,
};
use crate::asm::{Alu, Code, Cond, Label, Reg, Size};
use crate::emit::link::{Body, Call, Linker};
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Step;

impl MatchMeaning for Hbh {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(found(OptionsHeader::new(kind::HOP_BY_HOP, &self.0), false))
    }
}

impl MatchMeaning for Dst {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(found(OptionsHeader::new(kind::DESTINATION, &self.0), false))
    }
}

/// The first header of a kind has this length and begins with these options.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OptionsHeader {
    kind: u8,
    /// In bytes.
    length: Option<(u32, bool)>,
    options: Vec<HeaderOption>,
}

impl OptionsHeader {
    fn new(kind: u8, test: &HeaderTest) -> Self {
        OptionsHeader {
            kind,
            length: test.length.as_ref().map(plain),
            options: test.options.clone().unwrap_or_default(),
        }
    }

    fn holds(&self, bytes: &[u8]) -> Result<bool, Broken> {
        let Some(at) = find(bytes, self.kind)? else {
            return Ok(false);
        };
        let length = 8 * (usize::from(bytes[at + 1]) + 1);
        let header = bytes.get(at..at + length).ok_or(Broken)?;
        Ok(is_number(&self.length, length as u32) && self.begins(&header[2..]))
    }

    fn begins(&self, mut rest: &[u8]) -> bool {
        for (index, option) in self.options.iter().enumerate() {
            let length = match (option.kind, rest) {
                (0, [0, ..]) => 1,
                (0, _) => return false,
                (kind, [found, length, ..]) if *found == kind => {
                    if option.length.is_some_and(|wanted| wanted != *length) {
                        return false;
                    }
                    usize::from(*length) + 2
                }
                _ => return false,
            };
            match rest.get(length..) {
                Some(behind) => rest = behind,
                // The last one may be longer than the header.
                None => return index + 1 == self.options.len(),
            }
        }
        true
    }
}

/// Where the start of the header, then of each option, lies on the stack.
pub(super) const HEADER: i16 = -4;
/// Bytes of the header that are left.
const LEFT: Reg = Reg::R9;

impl Perform for OptionsHeader {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        answer(self.holds(packet.bytes()))
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let finder = finder(linker);
        let function = linker.function("ipv6_options", 0, |body| {
            let (no, broken) = (body.code.label(), body.code.label());
            emit_find(body, finder, self.kind, no, broken);
            body.bytes(AT, 2, HEADER, broken);
            emit_options_length(&mut body.code, LEFT);
            emit_whole(&mut body.code, LEFT, broken);
            if let Some((length, negated)) = self.length {
                emit_equal(&mut body.code, LEFT, length, negated, no);
            }
            body.code.alu(Alu::Add, AT, 2);
            body.code.alu(Alu::Sub, LEFT, 2);
            for (index, option) in self.options.iter().enumerate() {
                emit_option(body, *option, index + 1 < self.options.len(), no);
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

    fn branches(&self) -> usize {
        12 + 8 * self.options.len()
    }
}

/// `length =` the bytes of the header whose start was copied.
pub(super) fn emit_options_length(code: &mut Code, length: Reg) {
    code.load(Size::B, length, Reg::R10, HEADER + 1);
    code.alu(Alu::Add, length, 1);
    code.alu(Alu::Lsh, length, 3);
}

fn emit_option(body: &mut Body, option: HeaderOption, more: bool, no: Label) {
    let size = if option.kind == 0 { 1 } else { 2 };
    body.code.branch(Cond::Lt, LEFT, i32::from(size), no);
    body.bytes(AT, size, HEADER, no);
    let code = &mut body.code;
    code.load(Size::B, Reg::R1, Reg::R10, HEADER);
    code.branch(Cond::Ne, Reg::R1, i32::from(option.kind), no);
    match (option.kind, option.length) {
        (0, _) => code.mov(Reg::R2, 1),
        (_, length) => {
            code.load(Size::B, Reg::R2, Reg::R10, HEADER + 1);
            if let Some(length) = length {
                code.branch(Cond::Ne, Reg::R2, i32::from(length), no);
            }
            code.alu(Alu::Add, Reg::R2, 2);
        }
    }
    if more {
        code.branch(Cond::Lt, LEFT, Reg::R2, no);
        code.alu(Alu::Add, AT, Reg::R2);
        code.alu(Alu::Sub, LEFT, Reg::R2);
    }
}

impl fmt::Display for OptionsHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            kind::HOP_BY_HOP => "hop-by-hop",
            _ => "destination",
        };
        write!(f, "{name} options header")?;
        if let Some((length, negated)) = self.length {
            let not = if negated { "not " } else { "" };
            write!(f, ", {not}{length} bytes")?;
        }
        for option in &self.options {
            write!(f, ", option {}", option.kind)?;
            if let Some(length) = option.length {
                write!(f, " of {length} bytes")?;
            }
        }
        Ok(())
    }
}
