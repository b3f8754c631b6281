//! ECN: the bits of explicit congestion notification in the IP and TCP headers
//! (net/ipv4/netfilter/ipt_ECN.c). A TCP header that is cut short is dropped; whether the packet is a later
//! fragment, nobody asks.

use std::fmt;

use ipt2bpf_parser::targets::ecn::Ecn;

use super::change_tos::{CONGESTION, ChangeTos};
use super::rewrite::{self, tcp};
use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
/// Where the flags are in the TCP header.
const FLAGS: usize = 13;

impl TargetMeaning for Ecn {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let mut effects = Vec::new();
        if let Some(codepoint) = self.ect {
            effects.push(ChangeTos::new(context, !CONGESTION, codepoint).into());
        }
        let (mut kept, mut set) = (u8::MAX, 0);
        for (bit, wanted) in [(ECE, self.ece), (CWR, self.cwr)] {
            if let Some(wanted) = wanted {
                kept &= !bit;
                set |= if wanted { bit } else { 0 };
            }
        }
        if kept != u8::MAX {
            let in_frame = rewrite::is_possible(context);
            effects.push(
                ChangeCongestion {
                    kept,
                    set,
                    in_frame,
                }
                .into(),
            );
        }
        Ok(TargetAction {
            effects,
            action: Action::Continue,
            note: (!rewrite::is_possible(context)).then(|| "the packet keeps its bits".to_owned()),
        })
    }
}

/// `flags = flags & kept | set`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeCongestion {
    kept: u8,
    set: u8,
    /// Whether the packet changes; else it is only dropped where that is due.
    in_frame: bool,
}

impl Perform for ChangeCongestion {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        if packet.get(Field::TransportLength) < tcp::HEADER as u128 {
            return 1;
        }
        let flags = packet.get(Field::TcpFlags) as u8;
        let new = flags & self.kept | self.set;
        if self.in_frame && new != flags {
            let first = packet.get(Field::TcpDataOffset) as u8;
            tcp::write(packet, FLAGS - 1, &[first, new]);
        }
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let unfinished = self.in_frame.then(|| tcp::unfinished(linker));
        let function = linker.function("change_congestion", 2, |body| {
            let [broken, done] = [(); 2].map(|()| body.code.label());
            let (old, new) = (Reg::R1, Reg::R8);
            body.field(Reg::R1, Field::TransportLength);
            body.code
                .branch(Cond::Lt, Reg::R1, tcp::HEADER as i32, broken);
            if let Some(unfinished) = unfinished {
                body.field(old, Field::TcpFlags);
                let code = &mut body.code;
                code.mov(new, old);
                code.alu32(Alu::And, new, Reg::R3);
                code.alu32(Alu::Or, new, Reg::R4);
                code.branch(Cond::Eq, new, old, done);
                tcp::call(body, unfinished);
                let code = &mut body.code;
                code.store(Size::W, Reg::R10, UNFINISHED, Reg::R0);
                tcp::point_to_header(body, tcp::HEADER as i32, broken);
                let code = &mut body.code;
                let place = FLAGS as i16;
                code.load(Size::B, Reg::R2, Reg::R4, place);
                code.store(Size::B, Reg::R4, place, new);
                code.store(Size::B, PACKET, Field::TcpFlags.place().offset, new);
                code.load(Size::W, Reg::R1, Reg::R10, UNFINISHED);
                code.branch(Cond::Ne, Reg::R1, 0, done);
                let change = tcp::begin_checksum(body);
                let code = &mut body.code;
                // The flags are the high byte of a little-endian load.
                code.alu(Alu::Lsh, Reg::R2, 8);
                change.take(code, Reg::R2);
                code.alu(Alu::Lsh, new, 8);
                change.put(code, new);
                tcp::finish_checksum(body, change);
            }
            body.code.bind(done);
            body.answer(0);
            body.code.bind(broken);
            body.answer(1);
        });
        Call {
            function,
            arguments: vec![self.kept.into(), self.set.into()],
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![
            Field::TransportLength,
            Field::TcpDataOffset,
            Field::TcpFlags,
        ]
    }

    fn leaves_tcp_header(&self) -> bool {
        !self.in_frame
    }

    fn rewrites(&self) -> bool {
        self.in_frame
    }

    fn branches(&self) -> usize {
        150
    }
}

/// On the stack: whether the checksum is to be finished.
const UNFINISHED: i16 = -4;

impl fmt::Display for ChangeCongestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp flags & {:#04x} | {:#04x}", self.kept, self.set)
    }
}
