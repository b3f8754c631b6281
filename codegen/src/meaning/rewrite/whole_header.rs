//! Targets that want a whole TCP header, options and all: what has none is dropped, but for later fragments,
//! which are left as they are.

use std::fmt;

use super::tcp::{self, HEADER};
use crate::asm::{Cond, FunctionId, Label, Reg};
use crate::emit::link::{Body, Call, Linker};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};

/// The fields that [`link`] reads.
pub const READS: [Field; 3] = [
    Field::FragmentOffset,
    Field::TransportLength,
    Field::TcpDataOffset,
];

/// How long the header with its options is, in bytes; none when it is not whole.
fn header_length(packet: &Packet<'_>) -> Option<usize> {
    let rest = packet.get(Field::TransportLength) as usize;
    let header = 4 * (packet.get(Field::TcpDataOffset) >> 4) as usize;
    (rest >= HEADER && (HEADER..=rest).contains(&header)).then_some(header)
}

/// Answers 0 for a later fragment and 1 where the header is not whole; else what is done to the packet answers,
/// which is given the bytes of the header.
pub fn perform(packet: &mut Packet<'_>, change: impl FnOnce(&mut Packet<'_>, usize) -> u32) -> u32 {
    if packet.get(Field::FragmentOffset) != 0 {
        return 0;
    }
    match header_length(packet) {
        Some(header) => change(packet, header),
        None => 1,
    }
}

/// The same as a function, which is written between: it goes on at the first label to drop the packet, at the
/// second or behind its end when it is done.
pub fn link(
    linker: &mut Linker<'_>,
    name: &str,
    arguments: usize,
    change: impl FnOnce(&mut Body, Label, Label),
) -> FunctionId {
    linker.function(name, arguments, |body| {
        let [broken, done] = [(); 2].map(|()| body.code.label());
        whole(body, broken, done);
        change(body, broken, done);
        body.code.bind(done);
        body.answer(0);
        body.code.bind(broken);
        body.answer(1);
    })
}

/// Goes on at `fragment` for a later fragment, which has no header, and at `broken` when the header is not
/// whole. R1 and R2 are lost.
fn whole(body: &mut Body, broken: Label, fragment: Label) {
    let (rest, header) = (Reg::R2, Reg::R1);
    body.field(Reg::R1, Field::FragmentOffset);
    body.code.branch(Cond::Ne, Reg::R1, 0, fragment);
    body.field(rest, Field::TransportLength);
    body.code.branch(Cond::Lt, rest, HEADER as i32, broken);
    tcp::header(body, header);
    body.code.branch(Cond::Lt, header, HEADER as i32, broken);
    body.code.branch(Cond::Gt, header, rest, broken);
}

/// Drops a packet whose TCP header is not whole; later fragments have none to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DemandTcpHeader;

impl Perform for DemandTcpHeader {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        perform(packet, |_, _| 0)
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = link(linker, "demand_tcp_header", 0, |_, _, _| {});
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        READS.to_vec()
    }

    fn leaves_tcp_header(&self) -> bool {
        true
    }
}

impl fmt::Display for DemandTcpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("demand a whole tcp header")
    }
}
