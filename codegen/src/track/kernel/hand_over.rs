//! The program that hands connections over.

use super::{handed, info};
use crate::asm::{Alu, Code, Cond, Helper, Imm64, KernelField, MapId, Reg, Size};
use crate::encode::{Instruction, encode};
use crate::options::DeviceAccess;

/// `NF_ACCEPT` (include/uapi/linux/netfilter.h)
const ACCEPT: i32 = 1;
/// Where the packet's address lies in the context (`struct bpf_nf_ctx`, include/linux/netfilter.h).
const PACKET_IN_CONTEXT: i16 = 8;

/// The packet.
const PACKET: Reg = Reg::R6;
/// The place of the processor.
const PLACE: Reg = Reg::R7;

/// Where a number lies on the stack.
const NUMBER: i16 = -8;

/// The program's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Its instructions.
    pub instructions: Vec<Instruction>,
    /// The one that is to have the descriptor of [`HANDED_OVER_MAP`](super::HANDED_OVER_MAP) in its immediate,
    /// and `BPF_PSEUDO_MAP_FD` (1) for its source register.
    pub map: usize,
}

/// The program for a kernel: type NETFILTER, Linux 6.4, to be attached to LOCAL_IN behind all but the
/// confirmation of connections. It accepts every packet.
pub fn hand_over(access: DeviceAccess) -> Option<HandOver> {
    let mut code = Code::default();
    write(&mut code, access);
    let encoded = encode(&code).ok()?;
    Some(HandOver {
        map: encoded.relocations.first()?.instruction,
        instructions: encoded.instructions,
    })
}

fn write(code: &mut Code, access: DeviceAccess) {
    let offset = |field: KernelField| access.offset(field) as i16;
    let none = code.label();
    code.load(Size::D, PACKET, Reg::R1, PACKET_IN_CONTEXT);
    code.call(Helper::GetSmpProcessorId);
    code.store(Size::W, Reg::R10, NUMBER, Reg::R0);
    code.load_imm64(Reg::R1, Imm64::Map(MapId(0)));
    code.mov(Reg::R2, Reg::R10);
    code.alu(Alu::Add, Reg::R2, i32::from(NUMBER));
    code.call(Helper::MapLookupElem);
    code.branch(Cond::Eq, Reg::R0, 0, none);
    code.mov(PLACE, Reg::R0);
    code.store(Size::D, PLACE, handed::PACKET, PACKET);
    code.load(Size::D, Reg::R1, PACKET, offset(KernelField::SkbHead));
    code.store(Size::D, PLACE, handed::HEAD, Reg::R1);
    code.load(Size::D, Reg::R1, PACKET, offset(KernelField::SkbDevice));
    code.load(Size::D, Reg::R1, Reg::R1, offset(KernelField::DeviceNet));
    code.store(Size::D, PLACE, handed::NET, Reg::R1);
    code.load(Size::D, Reg::R3, PACKET, offset(KernelField::SkbConntrack));
    code.store(Size::D, PLACE, handed::CONNECTION, Reg::R3);
    // Zero where there is no connection.
    code.alu(Alu::And, Reg::R3, !info::MASK);
    code.alu(
        Alu::Add,
        Reg::R3,
        i32::from(access.offset(KernelField::ConnStatus)),
    );
    code.store(Size::D, Reg::R10, NUMBER, 0);
    code.mov(Reg::R1, Reg::R10);
    code.alu(Alu::Add, Reg::R1, i32::from(NUMBER));
    code.mov(Reg::R2, 4);
    code.call(Helper::ProbeReadKernel);
    code.load(Size::W, Reg::R1, Reg::R10, NUMBER);
    code.store(Size::W, PLACE, handed::STATUS, Reg::R1);
    code.bind(none);
    code.mov(Reg::R0, ACCEPT);
    code.exit();
}
