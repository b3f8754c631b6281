//! TOS, DSCP and what ECN does to the IP header: the type of service or traffic class
//! (net/netfilter/xt_DSCP.c, net/ipv4/netfilter/ipt_ECN.c).

use std::fmt;

use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::targets::dscp::Dscp;
use ipt2bpf_parser::targets::tos::Tos;

use super::rewrite;
use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET, point};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

/// The bits of the field that are not the code point (`XT_DSCP_ECN_MASK`).
pub const CONGESTION: u8 = 3;

impl TargetMeaning for Tos {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(changes(context, !self.change.mask, self.change.value))
    }
}

impl TargetMeaning for Dscp {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(changes(context, CONGESTION, self.codepoint << 2))
    }
}

fn changes(context: Context<'_>, kept: u8, flipped: u8) -> TargetAction {
    TargetAction {
        effects: vec![ChangeTos::new(context, kept, flipped).into()],
        action: Action::Continue,
        note: rewrite::note(context),
    }
}

/// `tos = (tos & kept) ^ flipped`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeTos {
    kept: u8,
    flipped: u8,
    /// Whether the packet changes too.
    in_frame: bool,
}

impl ChangeTos {
    /// The change at a hook.
    pub fn new(context: Context<'_>, kept: u8, flipped: u8) -> Self {
        ChangeTos {
            kept,
            flipped,
            in_frame: rewrite::is_possible(context),
        }
    }
}

impl Perform for ChangeTos {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let new = (packet.type_of_service() & self.kept) ^ self.flipped;
        packet.set_type_of_service(new);
        if self.in_frame {
            let [first, second] = [packet.bytes()[0], packet.bytes()[1]];
            let word = match packet.family() {
                Family::V4 => [first, new],
                Family::V6 => [first & 0xf0 | new >> 4, new << 4 | second & 0x0f],
            };
            rewrite::ip_header(packet, 0, &word);
        }
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let family = linker.family;
        let function = linker.function("change_tos", 2, |body| {
            let place = Field::TypeOfService.place().offset;
            let code = &mut body.code;
            let done = code.label();
            let (old, new, word) = (Reg::R2, Reg::R1, Reg::R8);
            code.load(Size::B, old, PACKET, place);
            code.mov(new, old);
            code.alu32(Alu::And, new, Reg::R3);
            code.alu32(Alu::Xor, new, Reg::R4);
            code.store(Size::B, PACKET, place, new);
            if self.in_frame {
                code.branch(Cond::Eq, new, old, done);
                code.mov(word, new);
                point(code, None, 20, done);
                code.load(Size::B, Reg::R1, Reg::R4, 0);
                match family {
                    Family::V4 => {
                        code.alu(Alu::Lsh, word, 8);
                        code.alu(Alu::Or, word, Reg::R1);
                    }
                    Family::V6 => {
                        code.load(Size::B, Reg::R2, Reg::R4, 1);
                        code.alu(Alu::And, Reg::R1, 0xf0);
                        code.alu(Alu::Lsh, Reg::R1, 8);
                        code.alu(Alu::And, Reg::R2, 0x0f);
                        code.alu(Alu::Lsh, word, 4);
                        code.alu(Alu::Or, word, Reg::R1);
                        code.alu(Alu::Or, word, Reg::R2);
                        code.to_big_endian(word, 16);
                    }
                }
                rewrite::word_of_ip_header(code, family, 0, word);
            }
            body.code.bind(done);
            body.code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: vec![self.kept.into(), self.flipped.into()],
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::TypeOfService]
    }

    fn changes_header(&self) -> bool {
        !self.in_frame
    }

    fn rewrites(&self) -> bool {
        self.in_frame
    }
}

impl fmt::Display for ChangeTos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tos & {:#04x} ^ {:#04x}", self.kept, self.flipped)
    }
}
