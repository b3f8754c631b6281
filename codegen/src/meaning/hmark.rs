//! HMARK: a mark from a hash over addresses, ports and protocol (net/netfilter/xt_HMARK.c), of the inner
//! packet where ICMP tells of an error.

use std::fmt;

use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::targets::hmark::Hmark;

use super::change_mark::{self, MARK};
use super::hashlimit::{self, PORTS};
use super::jhash;
use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::asm::{Alu, Code, Cond, Reg, Size};
use crate::emit::link::{CONTEXT, Call, Linker, PACKET};
use crate::field::Field;
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::Action;

/// Bytes of an IPv4 header without options.
const HEADER: usize = 20;
/// Bytes of an ICMP header.
const ICMP_HEADER: usize = 8;
const ICMP: u8 = 1;
/// The ICMP types that quote a packet: unreachable, source quench, redirect, time exceeded, parameter problem.
const ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
/// Of the fragment field: more fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

impl TargetMeaning for Hmark {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        if self.connection {
            return Err(Refusal {
                code: "connection-state",
                reason:
                    "hashes the addresses of a connection as the kernel has them, behind address \
                         translation"
                        .into(),
                help: "hash those of the packet: src,dst,sport,dport,proto".into(),
            });
        }
        if context.family == Family::V6 {
            return Err(Refusal {
                code: "extension-headers",
                reason: "hashes what lies in front of an authentication header or in a quoted packet, and \
                         programs walk to the end of IPv6 extension headers"
                    .into(),
                help: "choose by addresses and ports instead, such as with `-m u32`, and set marks with MARK"
                    .into(),
            });
        }
        let ports = |source: Option<u16>, destination: Option<u16>, spi: Option<u32>| {
            let half = |it: Option<u16>| u32::from(it.unwrap_or(0));
            spi.unwrap_or(half(source) << 16 | half(destination))
        };
        let mask = |prefix: Option<u8>| {
            prefix.map_or(0, |it| hashlimit::mask(Family::V4, Some(it)) as u32)
        };
        let mark = HashMark {
            source: mask(self.source_prefix),
            destination: mask(self.destination_prefix),
            port_mask: ports(
                self.source_port_mask,
                self.destination_port_mask,
                self.spi_mask,
            ),
            port_set: ports(self.source_port, self.destination_port, self.spi),
            protocol: self.protocol_mask.unwrap_or(0) as u8,
            seed: self.seed,
            modulus: self.modulus,
            offset: self.offset.unwrap_or(0),
        };
        Ok(TargetAction {
            effects: vec![mark.into()],
            action: Action::Continue,
            note: Some(change_mark::note(context)),
        })
    }
}

/// `mark = hash * modulus >> 32 + offset`; the other numbers say what of the packet is hashed, in host byte
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HashMark {
    source: u32,
    destination: u32,
    port_mask: u32,
    port_set: u32,
    protocol: u8,
    seed: u32,
    modulus: u32,
    offset: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The greater half first.
fn in_order(ports: u32) -> u32 {
    ports.max(ports.rotate_left(16))
}

impl HashMark {
    /// The mark of a packet; none where an ICMP error quotes no whole header.
    fn mark(&self, packet: &[u8]) -> Option<u32> {
        let header_length = |bytes: &[u8]| 4 * usize::from(bytes[0] & 15);
        let mut header = packet;
        if packet[9] == ICMP {
            let at = header_length(packet);
            let icmp = packet.get(at..at + ICMP_HEADER);
            if icmp.is_some_and(|icmp| ERRORS.contains(&icmp[0])) {
                header = packet.get(at + ICMP_HEADER..)?;
                header.get(..HEADER)?;
            }
        }
        let source = word(header, 12)? & self.source;
        let destination = word(header, 16)? & self.destination;
        let protocol = header[9];
        let fragment = u16::from_be_bytes([header[6], header[7]]) & FRAGMENT != 0;
        let offset = PORTS.iter().find(|row| row.0 == protocol);
        let ports = offset
            .filter(|_| !fragment)
            .and_then(|row| word(header, header_length(header) + usize::from(row.1)))
            .map_or(0, |ports| in_order(ports & self.port_mask | self.port_set));
        let words = [source.min(destination), source.max(destination), ports];
        let hash = jhash::hash(words, 3, self.seed) ^ u32::from(protocol & self.protocol);
        Some(jhash::scale(hash, self.modulus).wrapping_add(self.offset))
    }
}

/// On the stack: the header that is hashed, what of ICMP's is read, the ports as they stand.
const IP: i16 = -24;
const ICMP_TYPE: i16 = -32;
const PORT_BYTES: i16 = -36;

impl Perform for HashMark {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        if let Some(mark) = self.mark(packet.bytes()) {
            packet.set_mark(mark);
            world.written.mark = Some(mark);
        }
        0
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("hash_mark", 0, |body| {
            let (header, at) = (Reg::R8, Reg::R9);
            let [outer, inner, hash, known, swapped, none] = [(); 6].map(|()| body.code.label());
            body.code.mov(header, 0);
            body.bytes(header, HEADER as i16, IP, none);
            let code = &mut body.code;
            code.load(Size::B, Reg::R1, Reg::R10, IP + 9);
            code.branch(Cond::Ne, Reg::R1, i32::from(ICMP), outer);
            header_end(code, header, at);
            body.bytes(at, ICMP_HEADER as i16, ICMP_TYPE, outer);
            let code = &mut body.code;
            code.load(Size::B, Reg::R1, Reg::R10, ICMP_TYPE);
            for kind in ERRORS {
                code.branch(Cond::Eq, Reg::R1, i32::from(kind), inner);
            }
            code.jump(outer);
            code.bind(inner);
            code.mov(header, at);
            code.alu(Alu::Add, header, ICMP_HEADER as i32);
            body.bytes(header, HEADER as i16, IP, none);
            let code = &mut body.code;
            code.bind(outer);

            code.store(Size::W, Reg::R10, PORT_BYTES, 0);
            code.load(Size::H, Reg::R1, Reg::R10, IP + 6);
            code.to_big_endian(Reg::R1, 16);
            code.alu(Alu::And, Reg::R1, i32::from(FRAGMENT));
            code.branch(Cond::Ne, Reg::R1, 0, hash);
            header_end(code, header, at);
            code.load(Size::B, Reg::R1, Reg::R10, IP + 9);
            for (protocol, offset) in PORTS {
                let other = code.label();
                code.branch(Cond::Ne, Reg::R1, i32::from(protocol), other);
                code.alu(Alu::Add, at, i32::from(offset));
                code.jump(known);
                code.bind(other);
            }
            code.jump(hash);
            code.bind(known);
            body.bytes(at, 4, ICMP_TYPE, hash);
            let code = &mut body.code;
            let (ports, turned) = (Reg::R1, Reg::R2);
            code.load(Size::W, ports, Reg::R10, ICMP_TYPE);
            code.to_big_endian(ports, 32);
            code.alu32(Alu::And, ports, self.port_mask.cast_signed());
            code.alu32(Alu::Or, ports, self.port_set.cast_signed());
            jhash::rotate(code, turned, ports, 16, Reg::R3);
            let greater = code.label();
            code.branch(Cond::Ge, ports, turned, greater);
            code.mov(ports, turned);
            code.bind(greater);
            code.store(Size::W, Reg::R10, PORT_BYTES, ports);
            code.bind(hash);

            let words = [Reg::R1, Reg::R2, Reg::R3];
            for (reg, from, mask) in [(Reg::R1, 12, self.source), (Reg::R2, 16, self.destination)] {
                code.load(Size::W, reg, Reg::R10, IP + from);
                code.to_big_endian(reg, 32);
                code.alu32(Alu::And, reg, mask.cast_signed());
            }
            code.load(Size::W, Reg::R3, Reg::R10, PORT_BYTES);
            code.branch(Cond::Le, Reg::R1, Reg::R2, swapped);
            code.mov(Reg::R4, Reg::R1);
            code.mov(Reg::R1, Reg::R2);
            code.mov(Reg::R2, Reg::R4);
            code.bind(swapped);
            jhash::emit(code, words, 3, self.seed);
            let mark = words[2];
            code.load(Size::B, Reg::R1, Reg::R10, IP + 9);
            code.alu(Alu::And, Reg::R1, i32::from(self.protocol));
            code.alu32(Alu::Xor, mark, Reg::R1);
            jhash::emit_scale(code, mark, self.modulus);
            code.alu32(Alu::Add, mark, self.offset.cast_signed());
            code.store(Size::W, PACKET, Field::Mark.place().offset, mark);
            if body.hook != Hook::Xdp {
                body.code.store(Size::W, CONTEXT, MARK, mark);
            }
            body.code.bind(none);
            body.answer(0);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::Mark]
    }
}

/// `at = header + the length of the header on the stack`
fn header_end(code: &mut Code, header: Reg, at: Reg) {
    code.load(Size::B, at, Reg::R10, IP);
    code.alu(Alu::And, at, 15);
    code.alu(Alu::Lsh, at, 2);
    code.alu(Alu::Add, at, header);
}

impl fmt::Display for HashMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mark from a hash of {:#x} {:#x} {:#x}/{:#x} {:#x} with {:#x}: {} and {}",
            self.source,
            self.destination,
            self.port_set,
            self.port_mask,
            self.protocol,
            self.seed,
            self.modulus,
            self.offset
        )
    }
}
