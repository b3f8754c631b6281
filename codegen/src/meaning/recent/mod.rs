//! `recent_mt` of net/netfilter/xt_recent.c: lists of addresses seen lately, which rules share by name.

mod code;
mod list;

use std::fmt;
use std::net::IpAddr;

use ipt2bpf_parser::matches::recent::{Check, Recent, Side};
use ipt2bpf_parser::ruleset::Family;

use super::shared::List;
use super::{Context, MatchMeaning, Refusal};
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};
use list::Entries;

/// Addresses in a list: `ip_list_tot` of the module, unless it was loaded with another.
const ADDRESSES: usize = 100;
/// Stamps of an address when no rule of the list counts hits.
const STAMPS: u32 = 32;
/// The most stamps of an address for which a list fits a map (`KMALLOC_MAX_SIZE`, 4 MiB).
const MOST_STAMPS: u32 = 4096;

impl MatchMeaning for Recent {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if context.shared.is_of_both_families(self) {
            return Err(Refusal {
                code: "recent-families",
                reason: format!(
                    "shares the list {} with rules of the other family, and what becomes of its addresses \
                     in iptables depends on which ruleset is loaded first",
                    self.name
                ),
                help: "give the lists of IPv4 and IPv6 different names".into(),
            });
        }
        let List { mask, stamps } = context.shared.list(context.family, self);
        if stamps > MOST_STAMPS {
            return Err(Refusal {
                code: "recent-hits",
                reason: format!(
                    "needs a list that keeps more than {MOST_STAMPS} hits of each address"
                ),
                help: format!("give a --hitcount of at most {MOST_STAMPS}"),
            });
        }
        let recall = Recall {
            name: self.name.to_vec(),
            family: context.family,
            mask: match mask {
                IpAddr::V4(mask) => mask.to_bits().into(),
                IpAddr::V6(mask) => mask.to_bits(),
            },
            side: self.side,
            stamps,
            check: self.check.value.value,
            negated: self.check.negated,
            ticks: (self.seconds).map(|seconds| seconds.wrapping_mul(context.options.tick_rate)),
            hits: self.hit_count.map_or(1, u32::from),
            reap: self.reap,
            ttl: self.ttl,
        };
        let seen = Test::equal(Field::Answer, 1).negated_if(self.check.negated);
        Ok(vec![Step::Ask(recall.into()), Step::require(seen)])
    }
}

/// How many stamps of each address a list must keep for a rule.
pub(super) fn stamps(rule: &Recent) -> u32 {
    let hits = rule.hit_count;
    hits.map_or(STAMPS, |hits| u32::from(hits).next_power_of_two())
}

/// Asks and changes a list; answers 1 when the address is in it in the way asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recall {
    /// Of the list.
    name: Vec<u8>,
    family: Family,
    /// The bits of addresses that count, by the first rule that names the list.
    mask: u128,
    side: Side,
    /// Stamps of each address: a power of two.
    stamps: u32,
    check: Check,
    /// Whether the rule wants the opposite, which decides whether `--update` updates.
    negated: bool,
    /// How many ticks old a stamp may be. The kernel multiplies in 32 bits.
    ticks: Option<u32>,
    /// How many stamps there must be, at least 1.
    hits: u32,
    reap: bool,
    ttl: bool,
}

impl Recall {
    fn address(&self) -> Field {
        match (self.family, self.side) {
            (Family::V4, Side::Source) => Field::Source4,
            (Family::V4, Side::Destination) => Field::Destination4,
            (Family::V6, Side::Source) => Field::Source6,
            (Family::V6, Side::Destination) => Field::Destination6,
        }
    }

    /// Where the TTL or hop limit stands in the IP header. Forwarding lowers it before rules see it, for
    /// which the kernel makes up here; our hooks see it before that.
    fn ttl_offset(&self) -> usize {
        match self.family {
            Family::V4 => 8,
            Family::V6 => 7,
        }
    }
}

impl Perform for Recall {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let now = world.jiffies;
        let name = String::from_utf8_lossy(&self.name);
        let list: &mut Entries = world.named(&name);
        let address = packet.get(self.address()) & self.mask;
        list.ask(self, address, packet.bytes()[self.ttl_offset()], now)
            .into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        code::link(self, linker)
    }

    fn branches(&self) -> usize {
        3 * ADDRESSES
    }

    fn counts_packets(&self) -> bool {
        self.hits > 1
    }
}

impl fmt::Display for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        write!(
            f,
            "{:?} of {} in the list {name}",
            self.check,
            self.address()
        )?;
        if let Some(ticks) = self.ticks {
            write!(f, ", {ticks} ticks old at most")?;
        }
        write!(f, ", {} times at least", self.hits)?;
        if self.reap {
            f.write_str(", the oldest is reaped")?;
        }
        if self.ttl {
            f.write_str(", with the same TTL")?;
        }
        Ok(())
    }
}
