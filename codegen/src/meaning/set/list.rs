//! Packets held against a list of sets (`list_set_ktest`, net/netfilter/ipset/ip_set_list_set.c).

use std::fmt;

use ipt2bpf_parser::matches::set::Side;
use ipt2bpf_parser::ruleset::Family;

use super::code;
use super::elements::{Clock, TestElements, is_gone, reads, write_sides};
use crate::emit::link::{Call, Constant, Linker};
use crate::field::Field;
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::sets::key::Dimension;
use crate::sets::table::Answer;
use crate::sets::{Contents, Known};

/// Asks the sets of a list for a packet, one after the other; answers 1 when one has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TestList {
    /// The list.
    pub set: Known,
    /// The sides that the rule names; members that want more have no packet.
    pub sides: Vec<Side>,
    /// Exceptions count, and nothing else does, in members that can have them.
    pub return_nomatch: bool,
    /// The family of the packets.
    pub family: Family,
    /// Where the packets are.
    pub hook: Hook,
    /// Whether members that can be are kept where they can be changed.
    pub may_change: bool,
}

/// A set of a list that may have the packets of a rule.
pub struct Member<'a> {
    /// How it is asked.
    pub test: TestElements,
    /// The answer that counts.
    pub wanted: Answer,
    /// Seconds that it stays in the list, 0 for ever.
    pub timeout: u32,
    dimensions: &'a [Dimension],
}

impl TestList {
    /// The sets to ask, in order.
    pub fn members(&self) -> Vec<Member<'_>> {
        let Contents::Members(members) = &self.set.contents else {
            return Vec::new();
        };
        let asked = members.iter().filter_map(|(set, timeout)| {
            let Contents::Elements(table) = &set.contents else {
                return None;
            };
            let unseen =
                table.dimensions.contains(&Dimension::Mac) && self.hook == Hook::CgroupEgress;
            let takes = set.takes(self.family, self.sides.len()) && !unseen;
            let live = self.may_change && set.live.is_some();
            (takes && (live || !table.masks.is_empty())).then(|| Member {
                test: TestElements {
                    set: set.clone(),
                    sides: self.sides.clone(),
                    live,
                },
                wanted: match self.return_nomatch && super::has_exceptions(set) {
                    true => Answer::NoMatch,
                    false => Answer::Yes,
                },
                timeout: *timeout,
                dimensions: &table.dimensions,
            })
        });
        asked.collect()
    }
}

impl Perform for TestList {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let found = self.members().into_iter().any(|member| {
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
        let members = self.members();
        members.iter().flat_map(|it| it.test.constants()).collect()
    }

    fn reads(&self) -> Vec<Field> {
        let members = self.members();
        let fields = members
            .iter()
            .flat_map(|it| reads(it.dimensions, &self.sides));
        fields.collect()
    }
}

impl fmt::Display for TestList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sets of {}", self.set.name)?;
        write_sides(f, &self.sides)
    }
}
