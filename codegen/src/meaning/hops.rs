//! TTL and HL: the time to live or hop limit (net/netfilter/xt_HL.c). Nothing is dropped by the rule for
//! having none left; the kernel does not forward such a packet, nor send one to an IPv4 group.

use std::fmt;

use ipt2bpf_parser::ruleset::{Family, NfHook};
use ipt2bpf_parser::targets::hl::Hl;
use ipt2bpf_parser::targets::hop_limit::HopLimit;
use ipt2bpf_parser::targets::ttl::Ttl;

use super::rewrite;
use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET, point};
use crate::field::Field;
use crate::module::Hook;
use crate::options::XdpPath;
use crate::packet::Packet;
use crate::routine::{Perform, Routine, World};
use crate::semantic::{Action, FamilyFilter};

impl TargetMeaning for Ttl {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let may_take_all = matches!(self.change, HopLimit::Set(0) | HopLimit::Decrement(1..));
        if !may_take_all || context.hook != Hook::CgroupEgress {
            return Ok(changes(context, self.change));
        }
        if !context.options.approximate {
            return Err(Refusal {
                code: "last-hop",
                reason: "may leave a packet to a multicast group no hop, which the kernel drops if this host is in \
                    the group"
                    .into(),
                help: "write --ttl-set with 1 or more, or drop such packets with --approximate".into(),
            });
        }
        Ok(TargetAction {
            note: Some("packets to multicast groups that it leaves no hop are dropped".into()),
            ..changes(context, self.change)
        })
    }
}

impl TargetMeaning for Hl {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(changes(context, self.change))
    }
}

fn changes(context: Context<'_>, change: HopLimit) -> TargetAction {
    let in_frame = rewrite::is_possible(context);
    let effect = ChangeHops { change, in_frame };
    // What FORWARD sets, the kernel counts once more.
    let at_an_end = !matches!(change, HopLimit::Set(1..=254));
    let forwards = context.options.xdp_path != XdpPath::Input;
    let at_ends = (at_an_end && forwards).then(|| {
        "the kernel counts a hop behind the program, so a forwarded packet cannot leave with 0 or 255"
            .into()
    });
    TargetAction {
        effects: vec![effect.into()],
        action: Action::Continue,
        note: rewrite::note(context).or(at_ends),
    }
}

/// Sets, raises or lowers it, within what a byte holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeHops {
    change: HopLimit,
    /// Whether the packet changes too.
    in_frame: bool,
}

impl Perform for ChangeHops {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let hops = packet.time_to_live();
        let new = match self.change {
            HopLimit::Set(value) => value,
            HopLimit::Increment(step) => hops.saturating_add(step),
            HopLimit::Decrement(step) => hops.saturating_sub(step),
        };
        packet.set_time_to_live(new);
        if self.in_frame {
            let (at, word) = match packet.family() {
                Family::V4 => (8, [new, packet.bytes()[9]]),
                Family::V6 => (6, [packet.bytes()[6], new]),
            };
            rewrite::ip_header(packet, at, &word);
        }
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let (name, argument) = match self.change {
            HopLimit::Set(value) => ("set_hops", value),
            HopLimit::Increment(step) => ("more_hops", step),
            HopLimit::Decrement(step) => ("less_hops", step),
        };
        let family = linker.family;
        let function = linker.function(name, 1, |body| {
            let place = Field::TimeToLive.place().offset;
            let code = &mut body.code;
            let (old, hops, word) = (Reg::R2, Reg::R1, Reg::R8);
            let (within, done) = (code.label(), code.label());
            code.load(Size::B, old, PACKET, place);
            code.mov(hops, old);
            match self.change {
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
            if self.in_frame {
                code.branch(Cond::Eq, hops, old, done);
                code.mov(word, hops);
                point(code, None, 20, done);
                let at = match family {
                    Family::V4 => {
                        code.load(Size::B, Reg::R1, Reg::R4, 9);
                        code.alu(Alu::Lsh, Reg::R1, 8);
                        8
                    }
                    Family::V6 => {
                        code.load(Size::B, Reg::R1, Reg::R4, 6);
                        code.alu(Alu::Lsh, word, 8);
                        6
                    }
                };
                code.alu(Alu::Or, word, Reg::R1);
                rewrite::word_of_ip_header(code, family, at, word);
            }
            body.code.bind(done);
            body.code.mov(Reg::R0, 0);
        });
        Call {
            function,
            arguments: vec![argument.into()],
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::TimeToLive]
    }

    /// What it changes must have been counted.
    fn sees_hops(&self) -> bool {
        self.in_frame
    }

    fn changes_header(&self) -> bool {
        !self.in_frame
    }

    fn rewrites(&self) -> bool {
        self.in_frame
    }
}

/// Behind how many stages, those of OUTPUT, the kernel asks whether a packet to a group has a hop left
/// (`ip_mc_output`, net/ipv4/ip_output.c); none where no rule has changed that, because what was sent without
/// one comes to the program as this host's own copy only. The kernel asks where this host is in the group and
/// the packet does not leave by lo (`__mkroute_output`, net/ipv4/route.c), which is not known here: elsewhere the
/// drop is an approximation. IPv6 asks behind POSTROUTING.
pub fn asked_behind(filter: &FamilyFilter) -> Option<usize> {
    let mut routines = filter.routines();
    let changes = routines.any(|routine| matches!(routine, Routine::ChangeHops(_)));
    let stages = &filter.stages;
    let count = stages.partition_point(|stage| stage.nf_hook == NfHook::Output);
    (filter.family == Family::V4 && changes && count > 0).then_some(count)
}

/// Whether a packet goes to a group, and rules have left it no hop.
pub fn is_kept_from_group(packet: &Packet<'_>) -> bool {
    let to_group = packet.get(Field::Destination4) >> 28 == 0xe;
    to_group && packet.time_to_live() == 0 && packet.bytes()[8] != 0
}

impl fmt::Display for ChangeHops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            HopLimit::Set(value) => write!(f, "hops = {value}"),
            HopLimit::Increment(step) => write!(f, "hops + {step}"),
            HopLimit::Decrement(step) => write!(f, "hops - {step}"),
        }
    }
}
