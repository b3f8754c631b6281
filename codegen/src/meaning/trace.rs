//! TRACE: from here on, each rule that the packet matches, each end of a user chain and each policy is
//! told (`trace_packet`, net/ipv4/netfilter/ip_tables.c). What tells is put into the rules by
//! [`lower`](crate::lower), where there is a TRACE rule at all.

use std::fmt;

use ipt2bpf_parser::targets::trace::Trace;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::layout;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

impl TargetMeaning for Trace {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(TargetAction {
            effects: vec![StartTrace.into()],
            action: Action::Continue,
            note: Some(
                "`ipt2bpf log` prints the trace, not the kernel; rules of nat are not in it".into(),
            ),
        })
    }
}

/// Marks a packet as traced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StartTrace;

impl Perform for StartTrace {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        packet.set_traced();
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("start_trace", 0, |body| {
            body.code.store(Size::B, PACKET, layout::TRACED, 1);
            body.code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn only_tells(&self) -> bool {
        true
    }
}

impl fmt::Display for StartTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("trace")
    }
}
