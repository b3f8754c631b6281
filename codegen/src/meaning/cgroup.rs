//! `cgroup_mt_v2` of net/netfilter/xt_cgroup.c: the control group of the socket that sends the packet.

use std::fmt;

use bstr::BString;
use ipt2bpf_parser::matches::cgroup::Cgroup;

use super::{Context, MatchMeaning, Refusal, kernel_only, sender};
use crate::asm::{Cond, Helper, Imm64, KernelField, Reg};
use crate::emit::link::{CONTEXT, Call, Linker};
use crate::field::Field;
use crate::module::Hook;
use crate::options::ControlGroup;
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
        kernel_only(context, "the socket that sends a packet")?;
        let (routine, negated) = match self {
            Cgroup::Path(path) => (group(&path.value.value, context)?.into(), path.negated),
            Cgroup::Class(class) => (
                comparison(class.value.value, context)?.into(),
                class.negated,
            ),
        };
        let wanted = if negated { DIFFERENT } else { SAME };
        Ok(vec![
            Step::Ask(routine),
            Step::require(Test::equal(Field::Answer, wanted)),
        ])
    }
}

fn comparison(class: u32, context: Context<'_>) -> Result<CompareClass, Refusal> {
    match context.options.device_names.reads(KernelField::GroupsClass) {
        true => Ok(CompareClass { class }),
        false => Err(Refusal {
            code: "kernel-structure",
            reason: "asks for the class of a socket, which this kernel does not have".into(),
            help: "use a kernel with CONFIG_CGROUP_NET_CLASSID".into(),
        }),
    }
}

fn group(path: &BString, context: Context<'_>) -> Result<FindGroup, Refusal> {
    match context.options.groups.get(path.as_slice()) {
        Some(&group) => Ok(FindGroup { group }),
        None => Err(Refusal {
            code: "unknown-cgroup",
            reason: format!(
                "asks for the control group {path}, whose number only the system tells on which it exists"
            ),
            help: "make the group, and use `ipt2bpf load` or `attach`, which look its number up; or leave the \
                   match out and attach the programs to that group"
                .into(),
        }),
    }
}

/// Looks for a group among those that the socket that sends the packet is in, which must be a full one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FindGroup {
    group: ControlGroup,
}

impl Perform for FindGroup {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let found = sender::full_socket(packet)
            .map(|socket| socket.groups.get(self.group.level as usize) == Some(&self.group.id));
        match found {
            None => NO_SOCKET,
            Some(true) => SAME,
            Some(false) => DIFFERENT,
        }
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let ControlGroup { id, level } = self.group;
        let function = linker.function("group", 0, |body| {
            let [none, same] = [(); 2].map(|()| body.code.label());
            sender::full(body, none);
            body.code.mov(Reg::R1, CONTEXT);
            body.code.mov(Reg::R2, level.cast_signed());
            body.code.call(Helper::SkbAncestorCgroupId);
            body.code.load_imm64(Reg::R1, Imm64::Number(id));
            body.code.branch(Cond::Eq, Reg::R0, Reg::R1, same);
            body.answer(DIFFERENT as i32);
            body.code.bind(same);
            body.answer(SAME as i32);
            body.code.bind(none);
            body.answer(NO_SOCKET as i32);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        sender::READS.to_vec()
    }
}

impl fmt::Display for FindGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket in the control group {}", self.group.id)
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
