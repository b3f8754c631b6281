//! The socket that sends a packet, as `nf_log_dump_sk_uid_gid` (net/netfilter/nf_log_syslog.c) and
//! `cgroup_mt` (net/netfilter/xt_cgroup.c) take it: a full one only.
//!
//! Answers to those who ask for a connection come from a request, which is none; a program is given the
//! listening socket in its place, which sends nothing else with SYN and ACK.

use crate::asm::{Alu, Cond, FunctionId, KernelField, Label, Reg, Size};
use crate::emit::link::{Body, Linker, PACKET};
use crate::field::Field;
use crate::log::line::Owner;
use crate::packet::{Packet, SendingSocket};

/// SYN and ACK among the flags of TCP.
const SYN_ACK: u8 = 0x12;
const IPPROTO_TCP: u8 = 6;
/// Bytes of its header, without options.
const TCP_HEADER: u8 = 20;
/// The state of a socket that waits for connections (`TCP_LISTEN`, include/net/tcp_states.h).
const TCP_LISTEN: i32 = 10;

/// The fields that [`full`] reads.
pub const READS: [Field; 3] = [Field::Protocol, Field::TransportLength, Field::TcpFlags];

/// Where the state of the socket lies on the stack.
const STATE: i16 = -12;

/// The socket, if it is a full one.
pub fn full_socket<'a>(packet: &'a Packet<'_>) -> Option<&'a SendingSocket> {
    let flags = packet.get(Field::TcpFlags) as u8;
    let is_answer = packet.get(Field::Protocol) == u128::from(IPPROTO_TCP)
        && flags & SYN_ACK == SYN_ACK
        && packet.get(Field::TransportLength) >= u128::from(TCP_HEADER);
    packet
        .socket()
        .filter(|socket| !(socket.listens && is_answer))
}

/// Who has opened it.
pub fn of(packet: &Packet<'_>) -> Option<Owner> {
    let socket = full_socket(packet).filter(|socket| socket.is_open)?;
    let opener = socket.opener.as_ref()?;
    Some(Owner {
        user: opener.user,
        group: opener.group,
    })
}

/// R8 = the socket; goes to `none` where there is no full one. R0 to R5 are lost.
pub fn full(body: &mut Body, none: Label) {
    let socket = Reg::R8;
    let full = body.code.label();
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
}

/// What the function of [`link`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether there is an answer to the others: 0 or 1.
    Known,
    /// The user.
    User,
    /// The group.
    Group,
}

/// The function `u32 sender(context, packet, question)`: who has opened the socket, 0 where nobody has.
pub fn link(linker: &mut Linker<'_>) -> FunctionId {
    linker.function("sender", 1, |body| {
        let question = Reg::R9;
        let [none, user, group] = [(); 3].map(|()| body.code.label());
        body.code.mov(question, Reg::R3);
        full(body, none);
        body.code.mov(Reg::R3, Reg::R8);
        for field in [
            KernelField::SockSocket,
            KernelField::SocketFile,
            KernelField::FileCredentials,
        ] {
            body.follow(field, none);
        }
        for (wanted, label) in [(Question::User, user), (Question::Group, group)] {
            body.code.branch(Cond::Eq, question, wanted as i32, label);
        }
        body.answer(1);
        for (field, label) in [
            (KernelField::CredentialsUser, user),
            (KernelField::CredentialsGroup, group),
        ] {
            body.code.bind(label);
            body.number_of(field, Reg::R0);
            body.answer(Reg::R0);
        }
        body.code.bind(none);
        body.answer(0);
    })
}
