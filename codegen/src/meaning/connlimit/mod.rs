//! `connlimit_mt` of net/netfilter/xt_connlimit.c: how many connections an address has, of those that a rule
//! has seen begin.
//!
//! Each rule keeps a list of connections for each address, as net/netfilter/nf_conncount.c of Linux 6.18 does.
//! A packet enters its connection, unless that is assured and so was entered before; connections that are gone
//! or closed leave when the next packet of the address comes. Kernels before 6.18 enter assured ones as well. What differs from the kernel:
//! - It looks at most at 64 connections that are gone for each packet, here they all go at once.
//! - It has room for any number; here the addresses and connections that were used least lately are forgotten
//!   when there are more than [`LISTS`] and [`RECORDS`].

mod code;
mod list;

use std::fmt;

use ipt2bpf_parser::matches::Bound;
use ipt2bpf_parser::matches::connlimit::{By, Connlimit};
use ipt2bpf_parser::ruleset::Family;

use super::conntrack::source::own_only;
use super::{Context, MatchMeaning, Refusal};
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::module::Hook;
use crate::options::KernelVersion;
use crate::packet::Packet;
use crate::routine::{Perform, Place, World};
use crate::semantic::{Step, Test};
use list::{Arrival, Lists};

/// How many addresses have a list, of all rules.
const LISTS: u32 = 16_384;
/// How many connections the lists have room for.
const RECORDS: u32 = 65_536;
/// A list that has grown by less since connections were last looked for that are gone is not searched again
/// in the same tick (`CONNCOUNT_GC_MAX_COLLECT`).
const GROWTH: u32 = 64;
/// The answer when nothing can be counted, for which the kernel drops the packet: its connection has no
/// name, or every connection of the list is gone and the packet does not begin one.
const NONE: u32 = 2;

impl MatchMeaning for Connlimit {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        own_only(
            context,
            "counts connections, of which the kernel has lists of its own",
        )?;
        let oldest = context.options.target_kernel;
        if oldest.is_some_and(|kernel| kernel < KernelVersion::LOOP) {
            return Err(Refusal {
                code: "kernel",
                reason: format!(
                    "must look through the connections of an address, which programs can from Linux {} on",
                    KernelVersion::LOOP
                ),
                help: "give a newer --target-kernel, or bound the rate of new connections with \
                       `--syn -m hashlimit`"
                    .into(),
            });
        }
        let width = match context.family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        let bits = u32::from(self.prefix_length).min(width);
        let ones = u128::MAX.checked_shl(width - bits).unwrap_or(0);
        let mask = ones & (u128::MAX >> (128 - width));
        let count = CountConnections {
            place: context.place,
            family: context.family,
            by: self.by,
            mask,
            limit: self.limit,
            arrives: context.hook != Hook::CgroupEgress,
        };
        let above = Test::equal(Field::Answer, 1);
        Ok(vec![
            Step::Ask(count.into()),
            Step::demand(Test::Not(Box::new(Test::equal(Field::Answer, NONE)))),
            Step::require(above.negated_if(self.bound == Bound::UpTo)),
        ])
    }
}

/// Enters the packet's connection into the list of an address and counts; answers 1 above the limit, 0 up to
/// it, or [`NONE`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CountConnections {
    /// Whose lists they are.
    place: Place,
    family: Family,
    by: By,
    /// The bits of the address that count.
    mask: u128,
    limit: u32,
    /// Whether the packet comes from outside.
    arrives: bool,
}

impl CountConnections {
    fn address(&self) -> Field {
        match (self.family, self.by) {
            (Family::V4, By::Source) => Field::Source4,
            (Family::V4, By::Destination) => Field::Destination4,
            (Family::V6, By::Source) => Field::Source6,
            (Family::V6, By::Destination) => Field::Destination6,
        }
    }
}

impl Perform for CountConnections {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let Some(arrival) = Arrival::of(packet, self.arrives, world) else {
            return NONE;
        };
        let address = packet.get(self.address()) & self.mask;
        let mut lists = std::mem::take(world.at::<Lists>(self.place));
        let count = lists.count(address, &arrival, world);
        *world.at(self.place) = lists;
        match count {
            0 => NONE,
            count => (count > self.limit).into(),
        }
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        code::link(self, linker)
    }

    fn reads(&self) -> Vec<Field> {
        vec![
            Field::CtState,
            Field::Processor,
            Field::Protocol,
            Field::BrokenHeaders,
            Field::FragmentOffset,
            Field::TransportLength,
        ]
    }

    fn kernel(&self) -> KernelVersion {
        KernelVersion::LOOP
    }

    fn branches(&self) -> usize {
        96
    }
}

impl fmt::Display for CountConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (field, mask, limit) = (self.address(), self.mask, self.limit);
        write!(f, "connections by {field} & {mask:#x} above {limit}")
    }
}
