//! What the kernel's connection looks like, as the kernel has it: behind address translation the reply is no
//! mere turn of the original.

use super::tuple::{Attribute, LooksLike, Places, Side};
use crate::asm::{Alu, Cond, Helper, KernelField, Reg, Size};
use crate::emit::link::{Body, Call, Linker, PACKET};
use crate::field::Field;
use crate::track::kernel::{FREE, find};
use crate::track::status;

/// The connection.
const CONNECTION: Reg = Reg::R8;

/// `struct nf_conntrack_tuple` (include/net/netfilter/nf_conntrack_tuple.h).
mod member {
    pub const SOURCE: i16 = 0;
    pub const SOURCE_PORT: i16 = 16;
    pub const DESTINATION: i16 = 20;
    pub const DESTINATION_PORT: i16 = 36;
    pub const PROTOCOL: i16 = 38;
    pub const SIZE: i16 = 40;
}

/// The bytes of a `struct nf_conntrack_tuple_hash`: two pointers and a tuple.
const HASH_SIZE: i32 = 16 + member::SIZE as i32;

/// What lies on the stack.
mod stack {
    use super::{FREE, member};

    /// The tuples of the original and the reply.
    pub const TUPLES: [i16; 2] = [FREE - 2 * member::SIZE, FREE - member::SIZE];
    /// The port of a side as a word, each four bytes below the last.
    pub const PORTS: i16 = TUPLES[0] - 4;
    pub const SECONDS: i16 = PORTS - 16;
}

/// The sides, in the order of their ports on the stack.
const SIDES: [Side; 4] = [
    Side::OriginalSource,
    Side::OriginalDestination,
    Side::ReplySource,
    Side::ReplyDestination,
];

fn address(side: Side) -> i16 {
    let [original, reply] = stack::TUPLES;
    match side {
        Side::OriginalSource => original + member::SOURCE,
        Side::OriginalDestination => original + member::DESTINATION,
        Side::ReplySource => reply + member::SOURCE,
        Side::ReplyDestination => reply + member::DESTINATION,
    }
}

fn port(side: Side) -> i16 {
    stack::PORTS - 4 * side as i16
}

const PLACES: Places = Places {
    protocol: stack::TUPLES[0] + member::PROTOCOL,
    address: |side| (Reg::R10, address(side)),
    port,
    seconds: stack::SECONDS,
};

/// The function that compares the kernel's connection.
pub(super) fn link(it: &LooksLike, linker: &mut Linker<'_>) -> Call {
    let handed = linker.handed_over();
    let function = linker.function("looks_like", 0, |body| {
        let no = body.code.label();
        find(body, handed, no);
        if it.asks(|it| matches!(it, Attribute::Expiry(_))) {
            seconds(body, it.tick_rate());
        }
        tuples(body);
        it.compare(body, &PLACES, no);
    });
    Call {
        function,
        arguments: Vec::new(),
    }
}

fn tuples(body: &mut Body) {
    for (to, number) in stack::TUPLES.into_iter().zip(0..) {
        body.code.mov(Reg::R3, CONNECTION);
        body.field_of_structure(KernelField::ConnTuples);
        body.field_of_structure(KernelField::HashTuple);
        body.code.alu(Alu::Add, Reg::R3, number * HASH_SIZE);
        body.read(member::SIZE.into(), to);
    }
    for side in SIDES {
        let behind = match side {
            Side::OriginalSource | Side::ReplySource => member::SOURCE_PORT - member::SOURCE,
            Side::OriginalDestination | Side::ReplyDestination => {
                member::DESTINATION_PORT - member::DESTINATION
            }
        };
        let code = &mut body.code;
        code.load(Size::H, Reg::R1, Reg::R10, address(side) + behind);
        code.to_big_endian(Reg::R1, 16);
        code.store(Size::W, Reg::R10, port(side), Reg::R1);
    }
}

/// `nf_ct_expires` (include/net/netfilter/nf_conntrack.h), and 0 before the connection is confirmed
/// (`conntrack_mt`).
fn seconds(body: &mut Body, tick_rate: u32) {
    let known = body.code.label();
    let code = &mut body.code;
    code.store(Size::W, Reg::R10, stack::SECONDS, 0);
    code.load(Size::B, Reg::R1, PACKET, Field::CtStatus.place().offset);
    code.alu(Alu::And, Reg::R1, i32::from(status::CONFIRMED));
    code.branch(Cond::Eq, Reg::R1, 0, known);
    code.mov(Reg::R3, CONNECTION);
    body.number_of(KernelField::ConnTimeout, Reg::R9);
    let code = &mut body.code;
    code.call(Helper::Jiffies64);
    code.alu32(Alu::Sub, Reg::R9, Reg::R0);
    code.branch32(Cond::Slt, Reg::R9, 0, known);
    code.alu32(Alu::Div, Reg::R9, tick_rate.max(1) as i32);
    code.store(Size::W, Reg::R10, stack::SECONDS, Reg::R9);
    code.bind(known);
}
