//! `quota_mt` of net/netfilter/xt_quota.c: bytes that may pass.

use std::fmt;

use ipt2bpf_parser::matches::quota::Quota;

use super::{Context, MatchMeaning, Refusal};
use crate::asm::{Alu, Cond, Reg, Size};
use crate::emit::link::{Call, Linker};
use crate::field::{Field, layout};
use crate::packet::Packet;
use crate::routine::{Perform, Place, World};
use crate::semantic::{Step, Test};

/// The map of the quotas.
pub const QUOTAS: &str = "quotas";

impl MatchMeaning for Quota {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let spend = Spend {
            place: context.place,
            bytes: self.bytes.value.value,
        };
        let within = Test::equal(Field::Answer, 1).negated_if(self.bytes.negated);
        Ok(vec![Step::Ask(spend.into()), Step::require(within)])
    }
}

/// Takes a packet's bytes from a quota; answers 1 when they were left. The first packet that is too large
/// takes all that is left, so none passes after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spend {
    place: Place,
    bytes: u64,
}

/// Where the state lies in the map's value, behind the lock.
mod value {
    /// The bytes that are gone.
    pub const SPENT: i16 = 8;
    pub const BYTES: u32 = 8;
}

impl Perform for Spend {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let spent: &mut u64 = world.at(self.place);
        let left = (self.bytes - *spent).checked_sub(packet.len());
        *spent = self.bytes - left.unwrap_or(0);
        left.is_some().into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let (map, index) = linker.state(QUOTAS, self.place, value::BYTES);
        let function = linker.function("quota", 3, |body| {
            let (quota, bytes, length) = (Reg::R6, Reg::R8, Reg::R9);
            let code = &mut body.code;
            code.store(Size::W, Reg::R10, -4, Reg::R3);
            code.mov(bytes, Reg::R5);
            code.alu(Alu::Lsh, bytes, 32);
            code.alu32(Alu::Mov, Reg::R4, Reg::R4);
            code.alu(Alu::Or, bytes, Reg::R4);
            code.load(Size::W, length, quota, layout::LENGTH);
            let none = code.label();
            body.look_up(map, -4, none);
            body.code.mov(quota, Reg::R0);
            body.lock(quota);
            let code = &mut body.code;
            let (spent, left) = (Reg::R1, Reg::R2);
            let (over, done) = (code.label(), code.label());
            code.load(Size::D, spent, quota, value::SPENT);
            code.mov(left, bytes);
            code.alu(Alu::Sub, left, spent);
            code.branch(Cond::Lt, left, length, over);
            code.alu(Alu::Add, spent, length);
            code.store(Size::D, quota, value::SPENT, spent);
            code.mov(Reg::R8, 1);
            code.jump(done);
            code.bind(over);
            code.store(Size::D, quota, value::SPENT, bytes);
            code.mov(Reg::R8, 0);
            code.bind(done);
            body.unlock(quota);
            body.answer(Reg::R8);
            body.code.bind(none);
            body.answer(0);
        });
        Call {
            function,
            arguments: vec![index, self.bytes as u32, (self.bytes >> 32) as u32],
        }
    }

    fn counts_packets(&self) -> bool {
        true
    }
}

impl fmt::Display for Spend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quota of {} bytes", self.bytes)
    }
}
