//! `cgroup_mt_v1` of net/netfilter/xt_cgroup.c: the control group of the socket that sends the packet.

use std::fmt;

use ipt2bpf_parser::matches::cgroup::Cgroup;

use super::{Context, MatchMeaning, Refusal, kernel_only, sender};
use crate::asm::{Cond, KernelField, Reg};
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

/// What a comparison answers.
const NO_SOCKET: u32 = 0;
const DIFFERENT: u32 = 1;
const SAME: u32 = 2;

impl MatchMeaning for Cgroup {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if context.hook != Hook::CgroupEgress {
            return Err(Refusal {
                code: "unseen",
                reason: "asks for the socket that the kernel's early search finds for a received packet, \
                         which is not known there"
                    .into(),
                help: "ask for it in chains of sent packets only, or attach the programs to the group \
                       itself"
                    .into(),
            });
        }
        let class = match self {
            Cgroup::Path(_) => {
                return Err(Refusal {
                    code: "cgroup-path",
                    reason: "asks for a group by its path, whose number changes from boot to boot"
                        .into(),
                    help: "leave the match out and attach the programs to that group".into(),
                });
            }
            Cgroup::Class(class) => class,
        };
        kernel_only(context, "the class of a socket")?;
        if !context.options.device_names.reads(KernelField::GroupsClass) {
            return Err(Refusal {
                code: "kernel-structure",
                reason: "asks for the class of a socket, which this kernel does not have".into(),
                help: "use a kernel with CONFIG_CGROUP_NET_CLASSID".into(),
            });
        }
        let compare = CompareClass {
            class: class.value.value,
        };
        let wanted = if class.negated { DIFFERENT } else { SAME };
        Ok(vec![
            Step::Ask(compare.into()),
            Step::require(Test::equal(Field::Answer, wanted)),
        ])
    }
}

/// Compares the class (`net_cls.classid`) of the socket that sends the packet, which must be a full one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CompareClass {
    class: u32,
}

impl Perform for CompareClass {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        match sender::full_socket(packet) {
            None => NO_SOCKET,
            Some(socket) if socket.class == self.class => SAME,
            Some(_) => DIFFERENT,
        }
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("class", 1, |body| {
            let (socket, class) = (Reg::R8, Reg::R9);
            body.code.mov(class, Reg::R3);
            let [none, same] = [(); 2].map(|()| body.code.label());
            sender::full(body, none);
            body.code.mov(Reg::R3, socket);
            body.field_of_structure(KernelField::SockGroups);
            body.number_of(KernelField::GroupsClass, Reg::R1);
            body.code.branch32(Cond::Eq, Reg::R1, class, same);
            body.answer(DIFFERENT as i32);
            body.code.bind(same);
            body.answer(SAME as i32);
            body.code.bind(none);
            body.answer(NO_SOCKET as i32);
        });
        Call {
            function,
            arguments: vec![self.class],
        }
    }

    fn reads(&self) -> Vec<Field> {
        sender::READS.to_vec()
    }
}

impl fmt::Display for CompareClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "class of the socket, {} wanted", self.class)
    }
}
