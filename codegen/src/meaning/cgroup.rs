//! `cgroup_mt_v1` of net/netfilter/xt_cgroup.c: the control group of the socket that sends the packet.

use std::fmt;

use ipt2bpf_parser::matches::cgroup::Cgroup;

use super::{Context, MatchMeaning, Refusal, kernel_only};
use crate::asm::{Alu, Cond, KernelField, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::Field;
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

/// What a comparison answers.
const NO_SOCKET: u32 = 0;
const DIFFERENT: u32 = 1;
const SAME: u32 = 2;

/// SYN and ACK among the flags of TCP.
const SYN_ACK: u8 = 0x12;
const IPPROTO_TCP: u8 = 6;
/// Bytes of its header, without options.
const TCP_HEADER: u8 = 20;
/// The state of a socket that waits for connections (`TCP_LISTEN`, include/net/tcp_states.h).
const TCP_LISTEN: i32 = 10;

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

/// Compares the class (`net_cls.classid`) of the socket that sends the packet.
///
/// The match wants the packet's own socket to be a full one. Answers to those who ask for a connection come
/// from a request, which is none; a program is given the listening socket in its place, which sends nothing
/// else with SYN and ACK.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CompareClass {
    class: u32,
}

/// Where the state of the socket lies on the stack.
const STATE: i16 = -12;

impl Perform for CompareClass {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let flags = packet.get(Field::TcpFlags) as u8;
        let is_answer = packet.get(Field::Protocol) == u128::from(IPPROTO_TCP)
            && flags & SYN_ACK == SYN_ACK
            && packet.get(Field::TransportLength) >= u128::from(TCP_HEADER);
        match packet.socket() {
            None => NO_SOCKET,
            Some(socket) if socket.listens && is_answer => NO_SOCKET,
            Some(socket) if socket.class == self.class => SAME,
            Some(_) => DIFFERENT,
        }
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("class", 1, |body| {
            let (socket, class) = (Reg::R8, Reg::R9);
            let code = &mut body.code;
            code.mov(class, Reg::R3);
            let (none, full, same) = (code.label(), code.label(), code.label());
            body.structure(none);
            body.follow(KernelField::SkbSocket, none);
            body.code.mov(socket, Reg::R3);
            body.field_of_structure(KernelField::SockState);
            body.read(1, STATE);
            let code = &mut body.code;
            code.load(Size::B, Reg::R1, Reg::R10, STATE);
            code.branch(Cond::Ne, Reg::R1, TCP_LISTEN, full);
            let place = |field: Field| field.place().offset;
            code.load(Size::B, Reg::R1, PACKET, place(Field::Protocol));
            code.branch(Cond::Ne, Reg::R1, i32::from(IPPROTO_TCP), full);
            code.load(Size::W, Reg::R1, PACKET, place(Field::TransportLength));
            code.branch32(Cond::Lt, Reg::R1, i32::from(TCP_HEADER), full);
            code.load(Size::B, Reg::R1, PACKET, place(Field::TcpFlags));
            code.alu(Alu::And, Reg::R1, i32::from(SYN_ACK));
            code.branch(Cond::Eq, Reg::R1, i32::from(SYN_ACK), none);
            code.bind(full);
            code.mov(Reg::R3, socket);
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
        vec![Field::Protocol, Field::TransportLength, Field::TcpFlags]
    }
}

impl fmt::Display for CompareClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "class of the socket, {} wanted", self.class)
    }
}
