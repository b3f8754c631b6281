//! REJECT: the packet is dropped and its sender told, as `nf_send_reset`, `nf_send_unreach` and their like
//! do (net/ipv4/netfilter/nf_reject_ipv4.c, net/ipv6/netfilter/nf_reject_ipv6.c).
//!
//! At cgroup hooks nothing can be sent. At XDP the rule notes the answer in `struct packet`; when the
//! packet is dropped, the program turns the frame into the answer and sends it back with `XDP_TX`.
//! [`mod@reply`] says in Rust what is sent, [`code`] does it in bytecode.
//!
//! The answer leaves by the interface that the packet came from, to the station that has sent it. Between
//! two ends of a veth pair it arrives only when the other end has an XDP program too (`veth_xdp_xmit`,
//! drivers/net/veth.c). It is as the kernel's but for these:
//! - No frame for a group address is answered: the interface's own address, which the answer would need
//!   as its source, is not known.
//! - A frame to another station, which a promiscuous interface sees too, is told from one to this only
//!   by programs that look into the kernel's structures ([`DeviceNames`](crate::options::DeviceNames)).
//! - An IPv4 packet with options gets no ICMP error, in which the kernel would repeat some of them; nor
//!   does a first fragment at INPUT, for which the kernel would wait for the others.
//! - The kernel writes into some IPv4 options (a recorded route, a time, zeros behind the end of the options), and
//!   then finds the checksum of the TCP header wrong and sends no reset (`nf_ip_checksum`, net/netfilter/utils.c);
//!   here there is one.
//! - The ICMP error for a forwarded packet takes its source address from `bpf_fib_lookup`. Kernels before
//!   6.7 do not tell it; they send none. A reset needs no such address.
//!   To a link-local address, which does not forward by RFC 4291, there is none.
//! - Addresses that routing would refuse, such as 127.0.0.1, are not answered. A directed broadcast to
//!   this station's own hardware address is, if it looks local to `bpf_fib_lookup`.
//! - The identification of an IPv4 error is random, the flow label of an IPv6 error zero.
//! - Errors are limited as [`bucket`] says.

pub mod bucket;
mod code;
pub mod reply;
mod reset;
mod unreachable;

pub use code::link;

use std::fmt;

use ipt2bpf_parser::targets::reject::{Reject, RejectWith};

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::{Field, layout};
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Action, Verdict};

/// How the sender of a rejected packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A TCP segment that resets the connection.
    Reset,
    /// An ICMP or ICMPv6 error "destination unreachable" with this code.
    Unreachable(u8),
}

impl Answer {
    /// The answer as programs note it: not zero.
    pub fn number(self) -> u8 {
        match self {
            Answer::Reset => 1,
            Answer::Unreachable(code) => code + FIRST_CODE,
        }
    }
}

/// What stands for code 0.
const FIRST_CODE: u8 = 2;

/// The codes are those of include/uapi/linux/icmp.h and icmpv6.h.
impl From<RejectWith> for Answer {
    fn from(with: RejectWith) -> Self {
        Answer::Unreachable(match with {
            RejectWith::TcpReset => return Answer::Reset,
            RejectWith::IcmpNetUnreachable | RejectWith::Icmp6NoRoute => 0,
            RejectWith::IcmpHostUnreachable | RejectWith::Icmp6AdmProhibited => 1,
            RejectWith::IcmpProtoUnreachable => 2,
            RejectWith::IcmpPortUnreachable | RejectWith::Icmp6AddrUnreachable => 3,
            RejectWith::Icmp6PortUnreachable => 4,
            RejectWith::Icmp6PolicyFail => 5,
            RejectWith::Icmp6RejectRoute => 6,
            RejectWith::IcmpNetProhibited => 9,
            RejectWith::IcmpHostProhibited => 10,
            RejectWith::IcmpAdminProhibited => 13,
        })
    }
}

impl TargetMeaning for Reject {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let (effects, note) = match context.hook {
            Hook::Xdp => (vec![NoteAnswer(self.with.into()).into()], None),
            Hook::CgroupIngress => (
                Vec::new(),
                Some("the packet is dropped and its sender gets no answer"),
            ),
            Hook::CgroupEgress => (
                Vec::new(),
                Some("the packet is dropped; the sending call fails with EPERM"),
            ),
        };
        Ok(TargetAction {
            effects,
            action: Action::Verdict(Verdict::Drop),
            note: note.map(Into::into),
        })
    }
}

/// Notes how the sender is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NoteAnswer(Answer);

impl Perform for NoteAnswer {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        packet.reject(self.0);
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("reject", 1, |body| {
            body.code.store(Size::B, PACKET, layout::REJECTED, Reg::R3);
            body.answer(0);
        });
        Call {
            function,
            arguments: vec![self.0.number().into()],
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![
            Field::Protocol,
            Field::BrokenHeaders,
            Field::FragmentOffset,
            Field::TransportLength,
        ]
    }

    /// An error quotes the packet's header.
    fn sees_hops(&self) -> bool {
        self.0 != Answer::Reset
    }
}

impl fmt::Display for NoteAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Answer::Reset => f.write_str("answer reset"),
            Answer::Unreachable(code) => write!(f, "answer unreachable {code}"),
        }
    }
}
