//! How long packets may be on the way of a forwarded packet and back (`tcpmss_mangle_packet`,
//! net/netfilter/xt_TCPMSS.c), as `bpf_fib_lookup` tells it.
//!
//! It tells what the kernel takes for forwarding (`ip_mtu_from_fib_result`, net/ipv4/route.c): the MTU of a
//! route of IPv4 counts only where it is locked, else the interface's does. The way back is looked up as
//! that of a packet that came in with this one, where the kernel looks for that of one of its own.

use ipt2bpf_parser::ruleset::Family;

use crate::asm::{Alu, Code, Cond, FunctionId, Helper, Reg, Size};
use crate::emit::link::{CONTEXT, Linker, PACKET};
use crate::emit::parse::xdp;
use crate::emit::program::fib;
use crate::field::Field;

/// What the function gives where no route is known, which is no bound.
pub const UNBOUNDED: u32 = 0xffff;
/// `params.tot_len`, and `params.mtu_result` in its place.
const LENGTH: i16 = 6;
/// `BPF_FIB_LKUP_RET_FRAG_NEEDED`
const TOO_LONG: i32 = 8;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The packet's own.
    There,
    /// To its source.
    Back,
}

/// The function `u32 path_mtu(context, packet, way)`: the most bytes of a packet. It asks for one of the
/// greatest length, so that the answer comes before that of a neighbour is needed.
pub fn link(linker: &mut Linker<'_>) -> FunctionId {
    let family = linker.family;
    let (number, source, destination) = match family {
        Family::V4 => (fib::AF_INET, Field::Source4, Field::Destination4),
        Family::V6 => (fib::AF_INET6, Field::Source6, Field::Destination6),
    };
    linker.function("path_mtu", 1, |body| {
        let lookup = -fib::SIZE as i16;
        let code = &mut body.code;
        let [back, ask, told] = [(); 3].map(|()| code.label());
        for offset in (0..fib::SIZE as i16).step_by(8) {
            code.store(Size::D, Reg::R10, lookup + offset, 0);
        }
        code.load(Size::W, Reg::R1, CONTEXT, xdp::INGRESS_IFINDEX);
        code.store(Size::W, Reg::R10, lookup + fib::IFINDEX, Reg::R1);
        code.store(Size::B, Reg::R10, lookup + fib::FAMILY, number);
        code.store(Size::H, Reg::R10, lookup + LENGTH, -1);
        let copy = |code: &mut Code, field: Field, to: i16| {
            let place = field.place();
            for word in (0..i16::from(place.size)).step_by(4) {
                code.load(Size::W, Reg::R1, PACKET, place.offset + word);
                code.store(Size::W, Reg::R10, lookup + to + word, Reg::R1);
            }
        };
        code.branch(Cond::Eq, Reg::R3, Way::Back as i32, back);
        code.load(
            Size::B,
            Reg::R1,
            PACKET,
            Field::TypeOfService.place().offset,
        );
        match family {
            Family::V4 => code.store(Size::B, Reg::R10, lookup + fib::TOS, Reg::R1),
            Family::V6 => {
                // The traffic class in the big-endian word of version, class and flow label.
                code.alu(Alu::Lsh, Reg::R1, 20);
                code.to_big_endian(Reg::R1, 32);
                code.store(Size::W, Reg::R10, lookup + fib::TOS, Reg::R1);
            }
        }
        copy(code, source, fib::SOURCE);
        copy(code, destination, fib::DESTINATION);
        code.jump(ask);
        code.bind(back);
        copy(code, source, fib::DESTINATION);
        code.bind(ask);
        code.mov(Reg::R1, CONTEXT);
        body.stack(Reg::R2, lookup);
        let code = &mut body.code;
        code.mov(Reg::R3, fib::SIZE);
        code.mov(Reg::R4, 0);
        code.call(Helper::FibLookup);
        code.branch(Cond::Eq, Reg::R0, TOO_LONG, told);
        body.answer(UNBOUNDED as i32);
        body.code.bind(told);
        body.code.load(Size::H, Reg::R0, Reg::R10, lookup + LENGTH);
        body.answer(Reg::R0);
    })
}
