//! TTL and HL: the time to live or hop limit, as the rules that follow see it
//! (net/netfilter/xt_HL.c). Nothing is dropped for having none left.

use std::fmt;

use ipt2bpf_parser::targets::hl::Hl;
use ipt2bpf_parser::targets::hop_limit::HopLimit;
use ipt2bpf_parser::targets::ttl::Ttl;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

impl TargetMeaning for Ttl {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(changes(self.change))
    }
}

impl TargetMeaning for Hl {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(changes(self.change))
    }
}

fn changes(change: HopLimit) -> TargetAction {
    TargetAction {
        effects: vec![ChangeHops(change).into()],
        action: Action::Continue,
        note: Some("later rules see the new value; the packet keeps the old".into()),
    }
}

/// Sets, raises or lowers it, within what a byte holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeHops(HopLimit);

impl Perform for ChangeHops {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let hops = packet.time_to_live();
        packet.set_time_to_live(match self.0 {
            HopLimit::Set(value) => value,
            HopLimit::Increment(step) => hops.saturating_add(step),
            HopLimit::Decrement(step) => hops.saturating_sub(step),
        });
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let (name, argument) = match self.0 {
            HopLimit::Set(value) => ("set_hops", value),
            HopLimit::Increment(step) => ("more_hops", step),
            HopLimit::Decrement(step) => ("less_hops", step),
        };
        let function = linker.function(name, 1, |body| {
            let place = Field::TimeToLive.place().offset;
            let code = &mut body.code;
            let (hops, within) = (Reg::R1, code.label());
            code.load(Size::B, hops, PACKET, place);
            match self.0 {
                HopLimit::Set(_) => code.mov(hops, Reg::R3),
                HopLimit::Increment(_) => {
                    code.alu(Alu::Add, hops, Reg::R3);
                    code.branch(Cond::Le, hops, 255, within);
                    code.mov(hops, 255);
                }
                HopLimit::Decrement(_) => {
                    code.alu(Alu::Sub, hops, Reg::R3);
                    code.branch(Cond::Sge, hops, 0, within);
                    code.mov(hops, 0);
                }
            }
            code.bind(within);
            code.store(Size::B, PACKET, place, hops);
            code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: vec![argument.into()],
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::TimeToLive]
    }

    fn changes_header(&self) -> bool {
        true
    }
}

impl fmt::Display for ChangeHops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            HopLimit::Set(value) => write!(f, "hops = {value}"),
            HopLimit::Increment(step) => write!(f, "hops + {step}"),
            HopLimit::Decrement(step) => write!(f, "hops - {step}"),
        }
    }
}
