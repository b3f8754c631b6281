//! The flow of the packet in the kernel's table, copied to the stack: what the machine makes of the copy is
//! what the kernel will make of the original.

use ipt2bpf_parser::ruleset::Family;

use super::{Writer, in_question, stack};
use crate::asm::{Alu, Cond, Extern, KernelField, Reg, Size};
use crate::emit::link::CONTEXT;
use crate::emit::words::{Compare, Fact, Place};
use crate::track::code::question;
use crate::track::code::tcp::FLOW;
use crate::track::resolve::protocol;
use crate::track::{Key, layout, state};

/// The connection, which is to be released.
const CONNECTION: Reg = Reg::R9;

/// `struct bpf_ct_opts` (net/netfilter/nf_conntrack_bpf.c) as all kernels take it.
mod options {
    /// The network namespace; -1 is that of the device.
    pub const NETNS: i16 = 0;
    pub const ERROR: i16 = 4;
    pub const PROTOCOL: i16 = 8;
    /// Given back: the direction of the tuple.
    pub const DIRECTION: i16 = 9;
    pub const SIZE: i16 = 12;
}

/// Where things lie on the stack, in the place of the flow, before it is there.
mod place {
    use super::stack;

    /// `struct bpf_sock_tuple` (include/uapi/linux/bpf.h).
    pub const TUPLE: i16 = stack::FLOW;
    pub const OPTIONS: i16 = stack::FLOW + 40;
}

/// `struct ip_ct_tcp` (include/linux/netfilter/nf_conntrack_tcp.h) from `state` on.
mod machine {
    pub const STATE: i16 = 0;
    pub const LAST_DIRECTION: i16 = 1;
    pub const RETRANSMITS: i16 = 2;
    pub const LAST_INDEX: i16 = 3;
    pub const LAST_SEQUENCE: i16 = 4;
    pub const LAST_ACK: i16 = 8;
    pub const LAST_END: i16 = 12;
    pub const LAST_WINDOW: i16 = 16;
    pub const LAST_SCALE: i16 = 18;
    pub const LAST_FLAGS: i16 = 19;
    pub const SIZE: i16 = 20;
}

/// Where they lie on the stack: in the place of what the machine does not look at.
const MACHINE: i16 = stack::FLOW + layout::PACKETS[0];

impl Writer<'_> {
    /// The table can only be asked for TCP and UDP, and so for errors about them.
    pub(super) fn leave_unknown(&mut self) {
        let (state_place, end) = (self.state, self.labels.end);
        let known = self.body.code.label();
        self.question();
        let number = self.direction;
        let mut script = self.script();
        script.set(number, in_question(question::KEY + Key::PROTOCOL as i16));
        let asked = [protocol::TCP, protocol::UDP].map(|it| number.is(u32::from(it)));
        script.branch(&Fact::Any(asked.to_vec()), true, known);
        script.set(state_place, u32::from(state::UNKNOWN));
        script.code.jump(end);
        script.code.bind(known);
    }

    /// Asks for the connection; goes on at one of the labels for flows that are found or not.
    pub(super) fn look_up(&mut self, family: Family) {
        let (labels, direction) = (self.labels, self.direction);
        self.tuple(family);
        let code = &mut self.body.code;
        code.mov(Reg::R1, CONTEXT);
        code.mov(Reg::R2, Reg::R10);
        code.alu(Alu::Add, Reg::R2, i32::from(place::TUPLE));
        code.mov(Reg::R4, Reg::R10);
        code.alu(Alu::Add, Reg::R4, i32::from(place::OPTIONS));
        code.mov(Reg::R5, i32::from(options::SIZE));
        self.body.call_kernel(Extern::XdpCtLookup, labels.fresh);
        let code = &mut self.body.code;
        code.branch(Cond::Eq, Reg::R0, 0, labels.fresh);
        code.mov(CONNECTION, Reg::R0);
        let direction_found = Place::byte(Reg::R10, place::OPTIONS + options::DIRECTION);
        self.script().set(direction, direction_found);
        self.copy();
        self.body.code.jump(labels.found);
    }

    /// Puts the tuple of the packet on the stack, its size in R3, and the options.
    fn tuple(&mut self, family: Family) {
        let [backward, filled] = [(); 2].map(|()| self.body.code.label());
        self.question();
        let code = &mut self.body.code;
        let (netns, error) = (options::NETNS, options::ERROR);
        code.store(Size::W, Reg::R10, place::OPTIONS + netns, -1);
        code.store(Size::W, Reg::R10, place::OPTIONS + error, 0);
        code.store(Size::W, Reg::R10, place::OPTIONS + options::PROTOCOL, 0);
        let in_key = |offset: usize| question::KEY + offset as i16;
        code.load(Size::B, Reg::R2, Reg::R1, in_key(Key::PROTOCOL));
        let number = place::OPTIONS + options::PROTOCOL;
        code.store(Size::B, Reg::R10, number, Reg::R2);
        code.load(Size::B, Reg::R2, Reg::R1, question::FORWARD);
        let bytes = address_bytes(family);
        let code = &mut self.body.code;
        code.mov(Reg::R3, i32::from(2 * bytes + 4));
        code.branch(Cond::Eq, Reg::R2, 0, backward);
        let ends = [
            (Key::FIRST, Key::FIRST_PORT),
            (Key::SECOND, Key::SECOND_PORT),
        ];
        for [source, destination] in [ends, [ends[1], ends[0]]] {
            for ((address, port), number) in [source, destination].into_iter().zip(0..) {
                for word in (0..bytes).step_by(4) {
                    code.load(Size::W, Reg::R4, Reg::R1, in_key(address) + word);
                    let to = place::TUPLE + number * bytes + word;
                    code.store(Size::W, Reg::R10, to, Reg::R4);
                }
                code.load(Size::H, Reg::R4, Reg::R1, in_key(port));
                let to = place::TUPLE + 2 * bytes + 2 * number;
                code.store(Size::H, Reg::R10, to, Reg::R4);
            }
            if source == ends[0] {
                code.jump(filled);
                code.bind(backward);
            }
        }
        code.bind(filled);
    }

    /// Copies the connection to the stack as a flow, and releases it.
    fn copy(&mut self) {
        let body = &mut *self.body;
        for word in (0..layout::SIZE).step_by(8) {
            body.code.store(Size::D, Reg::R10, stack::FLOW + word, 0);
        }
        for (way, bytes, to) in [
            (&[KernelField::ConnStatus][..], 4, stack::FLOW),
            (&[KernelField::ConnMark], 4, stack::FLOW + layout::MARK),
            (
                &[KernelField::ConnProtocol, KernelField::TcpSeen],
                40,
                stack::FLOW + layout::SIDES[0],
            ),
            (
                &[KernelField::ConnProtocol, KernelField::TcpState],
                machine::SIZE,
                MACHINE,
            ),
        ] {
            body.code.mov(Reg::R3, CONNECTION);
            for &field in way {
                body.field_of_structure(field);
            }
            body.read(i32::from(bytes), to);
        }
        let code = &mut body.code;
        code.mov(Reg::R1, CONNECTION);
        body.call_kernel(Extern::CtRelease, self.labels.invalid);
        let code = &mut body.code;
        for (size, from, to) in [
            (Size::B, stack::FLOW, layout::STATUS),
            (Size::B, MACHINE + machine::STATE, layout::TCP_STATE),
            (Size::B, MACHINE + machine::LAST_INDEX, layout::LAST_INDEX),
            (
                Size::B,
                MACHINE + machine::LAST_DIRECTION,
                layout::LAST_DIRECTION,
            ),
            (Size::B, MACHINE + machine::LAST_SCALE, layout::LAST_SCALE),
            (Size::B, MACHINE + machine::LAST_FLAGS, layout::LAST_FLAGS),
            (Size::B, MACHINE + machine::RETRANSMITS, layout::RETRANSMITS),
            (
                Size::W,
                MACHINE + machine::LAST_SEQUENCE,
                layout::LAST_SEQUENCE,
            ),
            (Size::W, MACHINE + machine::LAST_ACK, layout::LAST_ACK),
            (Size::W, MACHINE + machine::LAST_END, layout::LAST_END),
            (Size::H, MACHINE + machine::LAST_WINDOW, layout::LAST_WINDOW),
        ] {
            code.load(size, Reg::R1, Reg::R10, from);
            code.store(size, Reg::R10, stack::FLOW + to, Reg::R1);
        }
        code.mov(FLOW, Reg::R10);
        code.alu(Alu::Add, FLOW, i32::from(stack::FLOW));
        code.store(Size::D, Reg::R10, stack::IS_NEW, 0);
        // backwards = direction of the tuple == forward
        self.question();
        let direction = self.direction;
        let forward = in_question(question::FORWARD);
        let backwards = Place::byte(FLOW, layout::BACKWARDS);
        self.script().set(backwards, (forward ^ direction) ^ 1);
    }
}

fn address_bytes(family: Family) -> i16 {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}
