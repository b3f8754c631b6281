//! `ah_mt6` of net/ipv6/netfilter/ip6t_ah.c: the authentication header.

use std::fmt;

use ipt2bpf_parser::matches::ah::Ah6;
use ipt2bpf_parser::range::Range;

use super::super::{BROKEN, Context, MatchMeaning, NO, Refusal, YES, found};
use super::{
    AT, Broken, answer, emit_equal, emit_find, emit_range, emit_whole, find, finder, is_in,
    is_number, kind, plain,
};
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{Call, Linker};
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Step;

impl MatchMeaning for Ah6 {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let length = self.length.as_ref().map(plain);
        let routine = Authentication {
            spi: plain(&self.spi),
            length: length.filter(|&(length, _)| length != 0),
            reserved: self.reserved,
        };
        Ok(found(routine, false))
    }
}

/// The first authentication header is as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authentication {
    spi: (Range<u32>, bool),
    /// In bytes.
    length: Option<(u32, bool)>,
    /// The reserved field is zero.
    reserved: bool,
}

impl Authentication {
    fn holds(&self, bytes: &[u8]) -> Result<bool, Broken> {
        let Some(at) = find(bytes, kind::AUTHENTICATION)? else {
            return Ok(false);
        };
        let header: &[u8; 12] = bytes[at..].first_chunk().ok_or(Broken)?;
        let [_, length, reserved_high, reserved_low, a, b, c, d, ..] = *header;
        let length = 4 * (u32::from(length) + 2);
        bytes.get(at..at + length as usize).ok_or(Broken)?;
        Ok(is_in(&self.spi, u32::from_be_bytes([a, b, c, d]))
            && is_number(&self.length, length)
            && !(self.reserved && [reserved_high, reserved_low] != [0, 0]))
    }
}

impl Perform for Authentication {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        answer(self.holds(packet.bytes()))
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        const HEADER: i16 = -16;
        let finder = finder(linker);
        let function = linker.function("ah", 0, |body| {
            let (no, broken) = (body.code.label(), body.code.label());
            emit_find(body, finder, kind::AUTHENTICATION, no, broken);
            body.bytes(AT, 12, HEADER, broken);
            let code = &mut body.code;
            code.load(Size::B, Reg::R3, Reg::R10, HEADER + 1);
            code.alu(Alu::Add, Reg::R3, 2);
            code.alu(Alu::Lsh, Reg::R3, 2);
            emit_whole(code, Reg::R3, broken);
            code.load(Size::W, Reg::R2, Reg::R10, HEADER + 4);
            code.to_big_endian(Reg::R2, 32);
            let (Range { low, high }, negated) = self.spi;
            emit_range(code, Reg::R2, low, high, negated, no);
            if let Some((length, negated)) = self.length {
                emit_equal(code, Reg::R3, length, negated, no);
            }
            if self.reserved {
                code.load(Size::H, Reg::R2, Reg::R10, HEADER + 2);
                code.branch(Cond::Ne, Reg::R2, 0, no);
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
}

impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (spi, negated) = self.spi;
        let not = if negated { "not " } else { "" };
        write!(f, "authentication header, spi {not}{spi}")?;
        if let Some((length, negated)) = self.length {
            let not = if negated { "not " } else { "" };
            write!(f, ", {not}{length} bytes")?;
        }
        if self.reserved {
            f.write_str(", nothing reserved")?;
        }
        Ok(())
    }
}
