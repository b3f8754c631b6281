//! `statistic_mt` of net/netfilter/xt_statistic.c: by chance, or every n-th packet.

use std::fmt;

use ipt2bpf_parser::matches::statistic::Statistic;

use super::{Context, MatchMeaning, Refusal};
use crate::asm::{Alu, Cond, Helper, Reg, Size};
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, Place, Routine, World};
use crate::semantic::{Step, Test};

/// The map of the cycles.
pub const CYCLES: &str = "nth";

impl MatchMeaning for Statistic {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let (routine, negated): (Routine, bool) = match self {
            Statistic::Random { probability } => {
                let toss = Toss {
                    probability: probability.value.value,
                };
                (toss.into(), probability.negated)
            }
            Statistic::Nth { every, packet } => {
                let turn = Turn {
                    place: context.place,
                    every: every.value.value,
                    packet: *packet,
                };
                (turn.into(), every.negated)
            }
        };
        Ok(vec![
            Step::Ask(routine),
            Step::require(Test::equal(Field::Answer, 1).negated_if(negated)),
        ])
    }
}

/// Answers 1 with a probability, given in parts of 2^31.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toss {
    probability: u32,
}

/// The bits of a random number that count.
const CHANCE: u32 = 0x7fff_ffff;

impl Perform for Toss {
    fn perform(&self, _: &mut Packet<'_>, world: &mut World) -> u32 {
        (world.random() & CHANCE < self.probability).into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("toss", 1, |body| {
            let code = &mut body.code;
            code.mov(Reg::R8, Reg::R3);
            code.call(Helper::GetPrandomU32);
            code.alu(Alu::And, Reg::R0, CHANCE as i32);
            let hit = code.label();
            code.branch32(Cond::Lt, Reg::R0, Reg::R8, hit);
            body.answer(0);
            body.code.bind(hit);
            body.answer(1);
        });
        Call {
            function,
            arguments: vec![self.probability],
        }
    }

    fn counts_packets(&self) -> bool {
        true
    }
}

impl fmt::Display for Toss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chance of {} in 2^31", self.probability)
    }
}

/// Answers 1 for one packet of each cycle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    place: Place,
    /// The length of the cycle.
    every: u32,
    /// Which packet of the cycle, from 0.
    packet: u32,
}

/// Where the state lies in the map's value, behind the lock.
mod value {
    /// How many packets of the cycle have been.
    pub const PASSED: i16 = 8;
    pub const BYTES: u32 = 8;
}

impl Perform for Turn {
    fn perform(&self, _: &mut Packet<'_>, world: &mut World) -> u32 {
        let passed: &mut u32 = world.at(self.place);
        let now = *passed;
        *passed = if now + 1 == self.every { 0 } else { now + 1 };
        (now == self.packet).into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let (map, index) = linker.state(CYCLES, self.place, value::BYTES);
        let function = linker.function("nth", 3, |body| {
            let (cycle, every, packet) = (Reg::R6, Reg::R8, Reg::R9);
            let code = &mut body.code;
            code.store(Size::W, Reg::R10, -4, Reg::R3);
            code.mov(every, Reg::R4);
            code.mov(packet, Reg::R5);
            let none = code.label();
            body.look_up(map, -4, none);
            body.code.mov(cycle, Reg::R0);
            body.lock(cycle);
            let code = &mut body.code;
            let (goes_on, other) = (code.label(), code.label());
            let (passed, next) = (Reg::R1, Reg::R2);
            code.load(Size::W, passed, cycle, value::PASSED);
            code.mov(next, passed);
            code.alu32(Alu::Add, next, 1);
            code.branch32(Cond::Ne, next, every, goes_on);
            code.mov(next, 0);
            code.bind(goes_on);
            code.store(Size::W, cycle, value::PASSED, next);
            code.mov(Reg::R8, 0);
            code.branch32(Cond::Ne, passed, packet, other);
            code.mov(Reg::R8, 1);
            code.bind(other);
            body.unlock(cycle);
            body.answer(Reg::R8);
            body.code.bind(none);
            body.answer(0);
        });
        Call {
            function,
            arguments: vec![index, self.every, self.packet],
        }
    }

    fn counts_packets(&self) -> bool {
        true
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "packet {} of every {}", self.packet, self.every)
    }
}
