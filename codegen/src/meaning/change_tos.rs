//! TOS and DSCP: the type of service or traffic class, as the rules that follow see it.

use std::fmt;

use ipt2bpf_parser::targets::dscp::Dscp;
use ipt2bpf_parser::targets::tos::Tos;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

/// The bits of the field that are not the code point (`XT_DSCP_ECN_MASK`).
const CONGESTION: u8 = 3;

impl TargetMeaning for Tos {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(changes(ChangeTos {
            kept: !self.change.mask,
            flipped: self.change.value,
        }))
    }
}

impl TargetMeaning for Dscp {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(changes(ChangeTos {
            kept: CONGESTION,
            flipped: self.codepoint << 2,
        }))
    }
}

fn changes(change: ChangeTos) -> TargetAction {
    TargetAction {
        effects: vec![change.into()],
        action: Action::Continue,
        note: Some("later rules see the new value; the packet keeps the old".into()),
    }
}

/// `tos = (tos & kept) ^ flipped`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeTos {
    kept: u8,
    flipped: u8,
}

impl Perform for ChangeTos {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        packet.set_type_of_service((packet.type_of_service() & self.kept) ^ self.flipped);
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("change_tos", 2, |body| {
            let place = Field::TypeOfService.place().offset;
            let code = &mut body.code;
            code.load(Size::B, Reg::R1, PACKET, place);
            code.alu32(Alu::And, Reg::R1, Reg::R3);
            code.alu32(Alu::Xor, Reg::R1, Reg::R4);
            code.store(Size::B, PACKET, place, Reg::R1);
            code.mov(Reg::R0, 0);
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
        true
    }
}

impl fmt::Display for ChangeTos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tos & {:#04x} ^ {:#04x}", self.kept, self.flipped)
    }
}
