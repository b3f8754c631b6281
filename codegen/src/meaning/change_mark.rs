//! MARK: `mark_tg` of net/netfilter/xt_mark.c.

use std::fmt;

use ipt2bpf_parser::targets::mark::Mark;
use ipt2bpf_parser::targets::mark_change::MarkChange;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Reg, Size};
use crate::emit::link::{CONTEXT, Call, Linker, PACKET};
use crate::field::Field;
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

/// `__sk_buff.mark`
pub(super) const MARK: i16 = 8;

impl TargetMeaning for Mark {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(TargetAction {
            effects: vec![ChangeMark(self.change).into()],
            action: Action::Continue,
            note: Some(note(context)),
        })
    }
}

/// What to say of a new mark.
pub(super) fn note(context: Context<'_>) -> String {
    let note = match context.hook {
        Hook::CgroupIngress | Hook::CgroupEgress => {
            "the packet has its route already: the mark does not choose another"
        }
        Hook::Xdp => "later rules see the mark; the system does not",
    };
    note.into()
}

/// Changes the packet's mark, for the rules that follow and, where there is one, in the socket buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeMark(MarkChange);

impl Perform for ChangeMark {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let MarkChange { value, mask } = self.0;
        let mark = (packet.mark() & !mask) ^ value;
        packet.set_mark(mark);
        world.written.mark = Some(mark);
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let MarkChange { value, mask } = self.0;
        let function = linker.function("change_mark", 2, |body| {
            let place = Field::Mark.place().offset;
            let hook = body.hook;
            let code = &mut body.code;
            code.load(Size::W, Reg::R1, PACKET, place);
            code.alu32(Alu::And, Reg::R1, Reg::R4);
            code.alu32(Alu::Xor, Reg::R1, Reg::R3);
            code.store(Size::W, PACKET, place, Reg::R1);
            if hook != Hook::Xdp {
                code.store(Size::W, CONTEXT, MARK, Reg::R1);
            }
            code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: vec![value, !mask],
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::Mark]
    }
}

impl fmt::Display for ChangeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MarkChange { value, mask } = self.0;
        write!(f, "mark & {:#x} ^ {value:#x}", !mask)
    }
}
