//! Packets held against a list of sets (`list_set_ktest`, net/netfilter/ipset/ip_set_list_set.c).

use std::fmt;

use ipt2bpf_parser::matches::set::Side;

use super::code;
use super::elements::{Clock, TestElements, is_gone, write_sides};
use crate::emit::link::{Call, Constant, Linker};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::sets::Known;
use crate::sets::table::Answer;

/// Asks the sets of a list for a packet, one after the other; answers 1 when one has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TestList {
    /// The list.
    pub set: Known,
    /// The sides that the rule names.
    pub sides: Vec<Side>,
    /// The sets to ask, in order: those that may have the packets of the rule.
    pub members: Vec<Member>,
}

/// A set of a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// How it is asked.
    pub test: TestElements,
    /// The answer that counts.
    pub wanted: Answer,
    /// Seconds that it stays in the list, 0 for ever.
    pub timeout: u32,
}

impl Perform for TestList {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let found = self.members.iter().any(|member| {
            let answer = member.test.perform(packet, world);
            let gone = member.timeout != 0 && {
                let elapsed = Clock::elapsed(world);
                is_gone(member.timeout, elapsed, world.tick_rate)
            };
            answer == member.wanted.number() && !gone
        });
        found.into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = code::list(linker, self);
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn constants(&self) -> Vec<Constant> {
        let members = self.members.iter();
        members.flat_map(|it| it.test.constants()).collect()
    }

    fn reads(&self) -> Vec<Field> {
        let members = self.members.iter();
        members.flat_map(|it| it.test.reads()).collect()
    }
}

impl fmt::Display for TestList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sets of {}", self.set.name)?;
        write_sides(f, &self.sides)
    }
}
