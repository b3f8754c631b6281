//! The answer to a TCP segment, in its own frame: `nf_send_reset` and `nf_send_reset6`.

use ipt2bpf_parser::ruleset::Family;

use super::code::{
    self, TCP, header_bytes, header_checksum, ip_header, not_mapped, specified, sum_words,
};
use crate::asm::{Alu, Cond, FunctionId, Helper, Reg, Size};
use crate::emit::link::{Body, CONTEXT, Linker, PACKET, point};
use crate::emit::parse::xdp;
use crate::field::{Field, layout};
use crate::meaning::checksum::code as checksum;

/// Bytes of a TCP header without options.
pub const TCP_HEADER: i16 = 20;
/// Flags in byte 13 of the TCP header.
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;
/// Bytes of the shortest Ethernet frame without its checksum; a frame is not cut shorter.
pub const SHORTEST_FRAME: i32 = 60;

/// On the stack: the segment's header, then what the answer says.
const SEGMENT: i16 = -24;
const SEQUENCE: i16 = -32;
const ACKNOWLEDGED: i16 = -28;

/// The function `u32 reset(context, packet)`: the program's result.
pub fn link(linker: &mut Linker<'_>) -> FunctionId {
    let family = linker.family;
    linker.function("reset", 0, |body| {
        let drop = body.code.label();
        if family == Family::V6 {
            for field in [Field::Source6, Field::Destination6] {
                not_mapped(&mut body.code, field, drop);
            }
            specified(&mut body.code, Field::Destination6, drop);
        }
        body.field(Reg::R1, Field::Protocol);
        let code = &mut body.code;
        code.branch(Cond::Ne, Reg::R1, i32::from(TCP), drop);
        body.field(Reg::R1, Field::TransportLength);
        let code = &mut body.code;
        code.branch(Cond::Lt, Reg::R1, i32::from(TCP_HEADER), drop);
        code.load(Size::H, Reg::R8, PACKET, layout::TRANSPORT);
        body.bytes(Reg::R8, TCP_HEADER, SEGMENT, drop);
        let code = &mut body.code;
        code.load(Size::B, Reg::R1, Reg::R10, SEGMENT + 13);
        code.alu(Alu::And, Reg::R1, i32::from(RST));
        code.branch(Cond::Ne, Reg::R1, 0, drop);
        numbers(body);

        let ip = header_bytes(family);
        cut(body, ip + TCP_HEADER, drop);
        let code = &mut body.code;
        code.load(Size::W, Reg::R4, CONTEXT, xdp::DATA);
        code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
        let short = code.label();
        code.mov(Reg::R5, Reg::R4);
        code.alu(Alu::Add, Reg::R5, SHORTEST_FRAME);
        code.branch(Cond::Gt, Reg::R5, Reg::R3, short);
        code.store(Size::D, Reg::R4, SHORTEST_FRAME as i16 - 8, 0);
        code.bind(short);
        code.mov(Reg::R5, Reg::R4);
        code.alu(Alu::Add, Reg::R5, 14);
        code.branch(Cond::Gt, Reg::R5, Reg::R3, drop);
        code.load(Size::W, Reg::R0, Reg::R4, 0);
        code.load(Size::H, Reg::R1, Reg::R4, 4);
        code.load(Size::W, Reg::R2, Reg::R4, 6);
        code.load(Size::H, Reg::R3, Reg::R4, 10);
        code.store(Size::W, Reg::R4, 0, Reg::R2);
        code.store(Size::H, Reg::R4, 4, Reg::R3);
        code.store(Size::W, Reg::R4, 6, Reg::R0);
        code.store(Size::H, Reg::R4, 10, Reg::R1);

        point(code, None, i32::from(ip + TCP_HEADER), drop);
        code.mov(Reg::R8, i32::from(TCP_HEADER));
        ip_header(body, family, TCP);
        if family == Family::V4 {
            let code = &mut body.code;
            code.store(Size::B, Reg::R4, 1, 0);
            code.store(Size::H, Reg::R4, 4, 0);
            // Don't fragment: 0x4000 in network byte order.
            code.store(Size::H, Reg::R4, 6, 0x0040);
            header_checksum(code);
        }
        header(body, family);
        code::send(body);
        body.code.bind(drop);
        code::drop(body);
    })
}

/// The sequence numbers of the answer onto the stack, its flags into R9.
fn numbers(body: &mut Body) {
    let flags = Reg::R9;
    let [plain, done] = [(); 2].map(|()| body.code.label());
    let code = &mut body.code;
    code.load(Size::B, flags, Reg::R10, SEGMENT + 13);
    code.mov(Reg::R1, flags);
    code.alu(Alu::And, Reg::R1, i32::from(ACK));
    code.branch(Cond::Eq, Reg::R1, 0, plain);
    code.load(Size::W, Reg::R1, Reg::R10, SEGMENT + 8);
    code.store(Size::W, Reg::R10, SEQUENCE, Reg::R1);
    code.store(Size::W, Reg::R10, ACKNOWLEDGED, 0);
    code.mov(flags, i32::from(RST));
    code.jump(done);
    code.bind(plain);
    code.store(Size::W, Reg::R10, SEQUENCE, 0);
    code.load(Size::W, Reg::R1, Reg::R10, SEGMENT + 4);
    code.to_big_endian(Reg::R1, 32);
    code.mov(Reg::R2, flags);
    code.alu(Alu::And, Reg::R2, i32::from(FIN));
    code.alu(Alu::Add, Reg::R1, Reg::R2);
    code.alu(Alu::And, flags, i32::from(SYN));
    code.alu(Alu::Rsh, flags, 1);
    code.alu(Alu::Add, Reg::R1, flags);
    body.field(Reg::R2, Field::TransportLength);
    let code = &mut body.code;
    code.alu(Alu::Add, Reg::R1, Reg::R2);
    code.load(Size::B, Reg::R2, Reg::R10, SEGMENT + 12);
    code.alu(Alu::Rsh, Reg::R2, 4);
    code.alu(Alu::Lsh, Reg::R2, 2);
    code.alu(Alu::Sub, Reg::R1, Reg::R2);
    code.to_big_endian(Reg::R1, 32);
    code.store(Size::W, Reg::R10, ACKNOWLEDGED, Reg::R1);
    code.mov(flags, i32::from(RST | ACK));
    code.bind(done);
}

/// Cuts the frame to its Ethernet header and so many bytes, but not below [`SHORTEST_FRAME`].
fn cut(body: &mut Body, bytes: i16, drop: crate::asm::Label) {
    let code = &mut body.code;
    let wanted = Reg::R2;
    let [long, done] = [(); 2].map(|()| code.label());
    code.load(Size::B, wanted, PACKET, layout::IP_HEADER);
    code.alu(Alu::And, wanted, 0x3f);
    code.alu(Alu::Add, wanted, i32::from(bytes));
    code.branch(Cond::Ge, wanted, SHORTEST_FRAME, long);
    code.mov(wanted, SHORTEST_FRAME);
    code.bind(long);
    code.load(Size::W, Reg::R1, CONTEXT, xdp::DATA_END);
    code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA);
    code.alu(Alu::Sub, Reg::R1, Reg::R3);
    code.branch(Cond::Sge, wanted, Reg::R1, done);
    code.alu(Alu::Sub, wanted, Reg::R1);
    code.mov(Reg::R1, CONTEXT);
    code.call(Helper::XdpAdjustTail);
    code.branch(Cond::Ne, Reg::R0, 0, drop);
    code.bind(done);
}

/// The TCP header behind the IP header at R4.
fn header(body: &mut Body, family: Family) {
    let tcp = header_bytes(family);
    let code = &mut body.code;
    for (size, from, to) in [
        (Size::H, SEGMENT + 2, 0),
        (Size::H, SEGMENT, 2),
        (Size::W, SEQUENCE, 4),
        (Size::W, ACKNOWLEDGED, 8),
    ] {
        code.load(size, Reg::R1, Reg::R10, from);
        code.store(size, Reg::R4, tcp + to, Reg::R1);
    }
    code.store(Size::B, Reg::R4, tcp + 12, i32::from(TCP_HEADER) << 2);
    code.store(Size::B, Reg::R4, tcp + 13, Reg::R9);
    code.store(Size::H, Reg::R4, tcp + 14, 0);
    code.store(Size::W, Reg::R4, tcp + 16, 0);
    sum_words(code, tcp, TCP_HEADER);
    code.mov(Reg::R9, i32::from(TCP));
    checksum::pseudo_header(code, family, Reg::R2, Reg::R9, Reg::R8, Reg::R1);
    code.alu(Alu::Add, Reg::R0, Reg::R2);
    checksum::fold(code, Reg::R0, Reg::R1);
    code.alu(Alu::Xor, Reg::R0, 0xffff);
    code.store(Size::H, Reg::R4, tcp + 16, Reg::R0);
}
