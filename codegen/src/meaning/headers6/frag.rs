//! `frag_mt6` of net/ipv6/netfilter/ip6t_frag.c: the fragment header.

use std::fmt;

use ipt2bpf_parser::matches::frag::{Frag, Place};
use ipt2bpf_parser::range::Range;

use super::super::{BROKEN, Context, MatchMeaning, NO, Refusal, YES, found};
use super::{AT, Broken, answer, emit_find, emit_range, find, finder, is_in, kind, plain};
use crate::asm::{Cond, Reg, Size};
use crate::emit::link::{Call, Linker};
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Step;

impl MatchMeaning for Frag {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let routine = Fragment {
            id: plain(&self.id),
            reserved: self.reserved,
            first: self.first,
            place: self.place,
        };
        Ok(found(routine, false))
    }
}

/// The first fragment header is as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    id: (Range<u32>, bool),
    reserved: bool,
    first: bool,
    place: Option<Place>,
}

/// The bits of the field that holds the offset.
const OFFSET: u16 = 0xfff8;
const RESERVED: u16 = 6;
const MORE: u16 = 1;

impl Fragment {
    fn holds(&self, bytes: &[u8]) -> Result<bool, Broken> {
        let Some(at) = find(bytes, kind::FRAGMENT)? else {
            return Ok(false);
        };
        let header: &[u8; 8] = bytes[at..].first_chunk().ok_or(Broken)?;
        let [_, reserved, high, low, a, b, c, d] = *header;
        let field = u16::from_be_bytes([high, low]);
        let more = match self.place {
            None => true,
            Some(Place::More) => field & MORE != 0,
            Some(Place::Last) => field & MORE == 0,
        };
        Ok(is_in(&self.id, u32::from_be_bytes([a, b, c, d]))
            && !(self.reserved && (reserved != 0 || field & RESERVED != 0))
            && !(self.first && field & OFFSET != 0)
            && more)
    }
}

impl Perform for Fragment {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        answer(self.holds(packet.bytes()))
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        const HEADER: i16 = -8;
        let finder = finder(linker);
        let function = linker.function("frag", 0, |body| {
            let [no, broken, yes] = [(); 3].map(|()| body.code.label());
            emit_find(body, finder, kind::FRAGMENT, no, broken);
            body.bytes(AT, 8, HEADER, broken);
            let code = &mut body.code;
            code.load(Size::W, Reg::R2, Reg::R10, HEADER + 4);
            code.to_big_endian(Reg::R2, 32);
            let (Range { low, high }, negated) = self.id;
            emit_range(code, Reg::R2, low, high, negated, no);
            code.load(Size::H, Reg::R2, Reg::R10, HEADER + 2);
            code.to_big_endian(Reg::R2, 16);
            if self.reserved {
                code.load(Size::B, Reg::R1, Reg::R10, HEADER + 1);
                code.branch(Cond::Ne, Reg::R1, 0, no);
                code.branch(Cond::Set, Reg::R2, i32::from(RESERVED), no);
            }
            if self.first {
                code.branch(Cond::Set, Reg::R2, i32::from(OFFSET), no);
            }
            match self.place {
                None => {}
                Some(Place::Last) => code.branch(Cond::Set, Reg::R2, i32::from(MORE), no),
                Some(Place::More) => {
                    code.branch(Cond::Set, Reg::R2, i32::from(MORE), yes);
                    code.jump(no);
                }
            }
            code.bind(yes);
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

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, negated) = self.id;
        let not = if negated { "not " } else { "" };
        write!(f, "fragment header, id {not}{id}")?;
        let place = match self.place {
            None => "",
            Some(Place::More) => ", more follow",
            Some(Place::Last) => ", the last",
        };
        for (given, text) in [
            (self.reserved, ", nothing reserved"),
            (self.first, ", the first"),
            (true, place),
        ] {
            if given {
                f.write_str(text)?;
            }
        }
        Ok(())
    }
}
