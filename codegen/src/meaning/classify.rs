//! CLASSIFY: the packet's priority, which no rule asks for.

use std::fmt;

use ipt2bpf_parser::targets::classify::Classify;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Reg, Size};
use crate::emit::link::{CONTEXT, Call, Linker};
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, Routine, World};
use crate::semantic::Action;

/// `__sk_buff.priority`
const PRIORITY: i16 = 32;

impl TargetMeaning for Classify {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let set = SetPriority {
            priority: u32::from(self.major) << 16 | u32::from(self.minor),
        };
        let (effects, note): (Vec<Routine>, _) = match context.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => (vec![set.into()], None),
            Hook::Xdp => (Vec::new(), Some("frames have no priority yet".to_owned())),
        };
        Ok(TargetAction {
            effects,
            action: Action::Continue,
            note,
        })
    }
}

/// Sets the packet's priority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetPriority {
    priority: u32,
}

impl Perform for SetPriority {
    fn perform(&self, _: &mut Packet<'_>, world: &mut World) -> u32 {
        world.written.priority = Some(self.priority);
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("set_priority", 1, |body| {
            body.code.store(Size::W, CONTEXT, PRIORITY, Reg::R3);
            body.code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: vec![self.priority],
        }
    }
}

impl fmt::Display for SetPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {:#x}", self.priority)
    }
}
