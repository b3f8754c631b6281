//! CT and NOTRACK: what connection tracking, which runs behind the raw table, makes of the packet
//! (net/netfilter/xt_CT.c).

use std::fmt;

use ipt2bpf_parser::targets::ct::Ct;
use ipt2bpf_parser::targets::notrack::Notrack;

use super::conntrack::source::own_only;
use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Cond, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::Field;
use crate::packet::{Connected, Packet};
use crate::routine::{Perform, World};
use crate::semantic::Action;
use crate::track::state;

/// Why the kernel's connections do not follow these targets.
const LATE: &str =
    "says how the packet is tracked, which the kernel has done, or will do, without it";

impl TargetMeaning for Notrack {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        own_only(context, LATE)?;
        Ok(gives(state::UNTRACKED, None))
    }
}

impl TargetMeaning for Ct {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        own_only(context, LATE)?;
        if self.notrack {
            return Ok(gives(state::UNTRACKED, None));
        }
        let unknown = [
            (!self.helper.is_empty(), "--helper", "knows no helpers"),
            (
                !self.timeout.is_empty(),
                "--timeout",
                "knows no other times",
            ),
            (self.zone.is_some(), "--zone", "knows no zones"),
        ];
        if let Some((_, option, lack)) = unknown.into_iter().find(|(given, ..)| *given) {
            return Err(Refusal {
                code: "ct-option",
                reason: format!("has {option}, and this connection tracking {lack}"),
                help: "take the option out, or keep the rules on connection states in iptables"
                    .into(),
            });
        }
        Ok(gives(state::NEW, Some("no events are told")))
    }
}

fn gives(state: u8, note: Option<&str>) -> TargetAction {
    TargetAction {
        effects: vec![GiveState { state }.into()],
        action: Action::Continue,
        note: note.map(str::to_owned),
    }
}

/// Gives a packet a state before it is tracked, if it has none yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GiveState {
    /// A bit of [`track::state`](crate::track::state).
    state: u8,
}

/// The states that are given; a packet with one of them keeps it.
const GIVEN: u8 = state::NEW | state::UNTRACKED;

impl Perform for GiveState {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        if packet.connection().state & GIVEN == 0 {
            packet.set_connection(Connected {
                state: self.state,
                ..packet.connection()
            });
        }
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("give_state", 1, |body| {
            let place = Field::CtState.place().offset;
            let given = body.code.label();
            body.code.load(Size::B, Reg::R1, PACKET, place);
            body.code
                .branch(Cond::Set, Reg::R1, i32::from(GIVEN), given);
            body.code.store(Size::B, PACKET, place, Reg::R3);
            body.code.bind(given);
            body.code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: vec![self.state.into()],
        }
    }
}

impl fmt::Display for GiveState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            state::UNTRACKED => "do not track",
            _ => "track as new",
        })
    }
}
