//! TCPMSS: the target drops what has no whole TCP header (`tcpmss_mangle_packet`,
//! net/netfilter/xt_TCPMSS.c); else the packet goes on.

use std::fmt;

use ipt2bpf_parser::targets::tcpmss::Tcpmss;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{Call, Linker, PACKET};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

/// Bytes of a TCP header without options.
const HEADER: u32 = 20;

impl TargetMeaning for Tcpmss {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(TargetAction {
            effects: vec![DemandTcpHeader.into()],
            action: Action::Continue,
            note: Some(
                "the packet keeps its maximum segment size, and counters miss the four bytes of an \
                 option that would be added"
                    .into(),
            ),
        })
    }
}

/// Drops a packet whose TCP header is not whole; later fragments have none to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DemandTcpHeader;

impl Perform for DemandTcpHeader {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let rest = packet.get(Field::TransportLength);
        let header = 4 * (packet.get(Field::TcpDataOffset) >> 4);
        let whole = rest >= u128::from(HEADER) && (u128::from(HEADER)..=rest).contains(&header);
        u32::from(packet.get(Field::FragmentOffset) == 0 && !whole)
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("demand_tcp_header", 0, |body| {
            let code = &mut body.code;
            let (broken, whole) = (code.label(), code.label());
            let least = HEADER as i32;
            let (rest, header) = (Reg::R2, Reg::R1);
            let offset = Field::FragmentOffset.place().offset;
            code.load(Size::H, Reg::R1, PACKET, offset);
            code.branch(Cond::Ne, Reg::R1, 0, whole);
            code.load(Size::W, rest, PACKET, Field::TransportLength.place().offset);
            code.branch(Cond::Lt, rest, least, broken);
            code.load(Size::B, header, PACKET, Field::TcpDataOffset.place().offset);
            code.alu(Alu::Rsh, header, 4);
            code.alu(Alu::Lsh, header, 2);
            code.branch(Cond::Lt, header, least, broken);
            code.branch(Cond::Le, header, rest, whole);
            code.bind(broken);
            body.answer(1);
            body.code.bind(whole);
            body.answer(0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![
            Field::FragmentOffset,
            Field::TransportLength,
            Field::TcpDataOffset,
        ]
    }
}

impl fmt::Display for DemandTcpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("demand a whole tcp header")
    }
}
