//! `ipv6header_mt6` of net/ipv6/netfilter/ip6t_ipv6header.c: which extension headers a packet has.

use std::fmt;

use ipt2bpf_parser::matches::ipv6header::{Headers, Ipv6Header};

use super::super::{Context, MatchMeaning, Refusal};
use super::kind;
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{self, Call, Linker};
use crate::emit::worker::{forget, join};
use crate::field::{Field, layout};
use crate::packet::{MAX_EXTENSION_HEADERS, Packet};
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

impl MatchMeaning for Ipv6Header {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let wanted = set(self.headers.value.value);
        let negated = self.headers.negated;
        let whole = Test::Masked {
            field: Field::Answer,
            mask: CUT.into(),
            value: 0,
        };
        let headers = match self.soft {
            false => Test::equal(Field::Answer, wanted).negated_if(negated),
            // Each of them, or, inverted, none.
            true => Test::Masked {
                field: Field::Answer,
                mask: wanted.into(),
                value: if negated { 0 } else { wanted.into() },
            },
        };
        Ok(vec![
            Step::Ask(ListHeaders.into()),
            Step::require(whole),
            Step::require(headers),
        ])
    }
}

/// The bits of a set of headers (include/uapi/linux/netfilter_ipv6/ip6t_ipv6header.h).
mod bit {
    pub const HOP_BY_HOP: u32 = 128;
    pub const DESTINATION: u32 = 64;
    pub const ROUTING: u32 = 32;
    pub const FRAGMENT: u32 = 16;
    pub const AUTHENTICATION: u32 = 8;
    pub const ESP: u32 = 4;
    pub const NONE: u32 = 2;
    pub const PROTOCOL: u32 = 1;
}

/// The packet ends in front of a header.
const CUT: u32 = 256;
/// `NEXTHDR_ESP`
const ESP: u8 = 50;
/// `NEXTHDR_NONE`
const NONE: u8 = 59;

/// The headers behind which others come.
const LEADING: [(u8, u32); 5] = [
    (kind::HOP_BY_HOP, bit::HOP_BY_HOP),
    (kind::DESTINATION, bit::DESTINATION),
    (kind::ROUTING, bit::ROUTING),
    (kind::FRAGMENT, bit::FRAGMENT),
    (kind::AUTHENTICATION, bit::AUTHENTICATION),
];

fn set(headers: Headers) -> u32 {
    [
        (headers.hop_by_hop, bit::HOP_BY_HOP),
        (headers.destination_options, bit::DESTINATION),
        (headers.routing, bit::ROUTING),
        (headers.fragment, bit::FRAGMENT),
        (headers.authentication, bit::AUTHENTICATION),
        (headers.esp, bit::ESP),
        (headers.none, bit::NONE),
        (headers.protocol, bit::PROTOCOL),
    ]
    .iter()
    .filter(|(listed, _)| *listed)
    .fold(0, |set, (_, bit)| set | bit)
}

/// Answers the set of a packet's headers, or [`CUT`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListHeaders;

impl Perform for ListHeaders {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let bytes = packet.bytes();
        let (mut next, mut at, mut set) = (bytes[6], 40, 0);
        for _ in 0..MAX_EXTENSION_HEADERS {
            if next == NONE {
                return set | bit::NONE;
            }
            let leading = LEADING.iter().find(|row| row.0 == next);
            if leading.is_none() && next != ESP {
                return set | bit::PROTOCOL;
            }
            let Some(header) = bytes.get(at..at + 2) else {
                return CUT;
            };
            let Some((_, bit)) = leading else {
                return set | bit::ESP;
            };
            set |= bit;
            at += match next {
                kind::FRAGMENT => 8,
                kind::AUTHENTICATION => 4 * (usize::from(header[1]) + 2),
                _ => 8 * (usize::from(header[1]) + 1),
            };
            next = header[0];
            if at > bytes.len() {
                let ends = next == NONE || next == ESP;
                return if ends { set } else { set | bit::PROTOCOL };
            }
        }
        CUT
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        /// The first bytes of a header.
        const HEADER: i16 = -4;
        /// The kind of header that comes next.
        const NEXT: i16 = -5;
        const END: i16 = -12;
        const SPARE: i16 = -20;
        let lister = linker.worker("list_headers", 1, |worker| {
            let (at, set, round, end) = (Reg::R7, Reg::R8, Reg::R9, Reg::R5);
            let [
                again,
                none,
                extension,
                esp,
                advance,
                behind,
                protocol,
                out,
                cut,
            ] = [(); 9].map(|()| worker.code.label());
            worker.split(Reg::R2, at, end);
            let code = &mut worker.code;
            code.store(Size::W, Reg::R10, END, end);
            code.mov(set, 0);
            code.mov(round, 0);
            code.alu(Alu::Add, at, 6);
            worker.bytes(at, end, 1, NEXT, cut);
            let code = &mut worker.code;
            code.alu(Alu::Add, at, 34);
            code.bind(again);
            code.load(Size::B, Reg::R1, Reg::R10, NEXT);
            code.branch(Cond::Eq, Reg::R1, i32::from(NONE), none);
            code.branch(Cond::Eq, Reg::R1, i32::from(ESP), extension);
            for (kind, _) in LEADING {
                code.branch(Cond::Eq, Reg::R1, i32::from(kind), extension);
            }
            code.jump(protocol);
            code.bind(extension);
            code.load(Size::W, end, Reg::R10, END);
            worker.bytes(at, end, 2, HEADER, cut);
            let code = &mut worker.code;
            code.load(Size::B, Reg::R1, Reg::R10, NEXT);
            code.branch(Cond::Eq, Reg::R1, i32::from(ESP), esp);
            code.load(Size::B, Reg::R2, Reg::R10, HEADER + 1);
            let [other, authentication] = [(); 2].map(|()| code.label());
            for (kind, bit) in LEADING {
                let different = code.label();
                code.branch(Cond::Ne, Reg::R1, i32::from(kind), different);
                code.alu(Alu::Or, set, bit as i32);
                code.bind(different);
            }
            code.branch(
                Cond::Eq,
                Reg::R1,
                i32::from(kind::AUTHENTICATION),
                authentication,
            );
            code.branch(Cond::Ne, Reg::R1, i32::from(kind::FRAGMENT), other);
            code.mov(Reg::R2, 8);
            code.jump(advance);
            code.bind(authentication);
            code.alu(Alu::Add, Reg::R2, 2);
            code.alu(Alu::Lsh, Reg::R2, 2);
            code.jump(advance);
            code.bind(other);
            code.alu(Alu::Add, Reg::R2, 1);
            code.alu(Alu::Lsh, Reg::R2, 3);
            code.bind(advance);
            code.alu(Alu::Add, at, Reg::R2);
            forget(code, at, SPARE);
            forget(code, set, SPARE);
            code.load(Size::B, Reg::R1, Reg::R10, HEADER);
            code.store(Size::B, Reg::R10, NEXT, Reg::R1);
            code.load(Size::W, end, Reg::R10, END);
            code.branch(Cond::Gt, at, end, behind);
            code.alu(Alu::Add, round, 1);
            code.branch(Cond::Lt, round, MAX_EXTENSION_HEADERS as i32, again);
            code.bind(cut);
            worker.answer(CUT as i32);
            let code = &mut worker.code;
            code.bind(behind);
            code.branch(Cond::Eq, Reg::R1, i32::from(NONE), out);
            code.branch(Cond::Eq, Reg::R1, i32::from(ESP), out);
            code.bind(protocol);
            code.alu(Alu::Or, set, bit::PROTOCOL as i32);
            code.bind(out);
            worker.answer(set);
            let code = &mut worker.code;
            code.bind(none);
            code.alu(Alu::Or, set, bit::NONE as i32);
            code.jump(out);
            code.bind(esp);
            code.alu(Alu::Or, set, bit::ESP as i32);
            code.jump(out);
        });
        let function = linker.function("ipv6header", 0, |body| {
            body.frame_offset(Reg::R2);
            let code = &mut body.code;
            code.load(Size::W, Reg::R3, link::PACKET, layout::LENGTH);
            code.alu(Alu::Add, Reg::R3, Reg::R2);
            join(code, Reg::R2, Reg::R3);
            code.mov(Reg::R1, link::CONTEXT);
            code.call_function(lister);
            body.answer(Reg::R0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn branches(&self) -> usize {
        1
    }
}

impl fmt::Display for ListHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("extension headers")
    }
}
