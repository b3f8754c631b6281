//! `hashlimit_mt_common` of net/netfilter/xt_hashlimit.c: a bucket for each address or port, in tables that
//! rules share by name. The first rule that names a table says how its buckets fill.
//!
//! The kernel looks for buckets that have expired now and then (`--hashlimit-htable-gcinterval`), and one that
//! is used before it is found goes on as it was. Here it begins anew. Where a new bucket finds the table
//! full, those that have expired are looked for, as often as the kernel would at most.

mod code;
mod key;
mod rate;

pub use key::{PORTS, mask};
use std::collections::HashMap;

use std::fmt;

use ipt2bpf_parser::matches::Bound;
use ipt2bpf_parser::matches::hashlimit::{Hashlimit, Key, Rate};
use ipt2bpf_parser::ruleset::Family;

use super::{Context, MatchMeaning, Refusal};
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::options::KernelVersion;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};
use rate::{Bucket, Filling};

/// The answer when the packet has no bucket: it lacks the ports, or the table is full.
const NONE: u32 = 2;
/// The buckets of a table whose rule does not say how many: what the kernel takes on machines with more than
/// a gigabyte of memory, where it makes 8192 hash chains.
const DEFAULT_CHAINS: u32 = 8192;
/// Buckets for each chain, unless told.
const BUCKETS_PER_CHAIN: u32 = 8;

impl MatchMeaning for Hashlimit {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if context
            .options
            .target_kernel
            .is_some_and(|kernel| kernel < KernelVersion::FOR_EACH)
        {
            return Err(Refusal {
                code: "kernel",
                reason: format!(
                    "must look for buckets that have expired, which programs can from Linux {} on",
                    KernelVersion::FOR_EACH
                ),
                help: "give a newer --target-kernel, or use `-m limit`".into(),
            });
        }
        let first = context.shared.table(context.family, self);
        if unit(first) != unit(self) {
            return Err(Refusal {
                code: "hashlimit-table",
                reason: format!(
                    "counts in other units than the first rule of the table {}, whose buckets it shares",
                    self.name
                ),
                help: "give each its own --hashlimit-name".into(),
            });
        }
        let table = Table::new(first, context);
        let within = Test::equal(Field::Answer, 1).negated_if(self.bound == Bound::Above);
        Ok(vec![
            Step::Ask(TakeShare { table }.into()),
            Step::demand(Test::Not(Box::new(Test::equal(Field::Answer, NONE)))),
            Step::require(within),
        ])
    }
}

/// What buckets hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Packets,
    Bytes,
    PacketWindow,
    ByteWindow,
}

fn unit(hashlimit: &Hashlimit) -> Unit {
    match (hashlimit.rate, hashlimit.interval) {
        (Rate::Packets { .. }, None) => Unit::Packets,
        (Rate::Bytes { .. }, None) => Unit::Bytes,
        (Rate::Packets { .. }, Some(_)) => Unit::PacketWindow,
        (Rate::Bytes { .. }, Some(_)) => Unit::ByteWindow,
    }
}

/// Asks a bucket of a table; answers 1 when the packet keeps to the rate, 0 when it does not, [`NONE`] when
/// there is no bucket for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TakeShare {
    table: Table,
}

/// A table, by the first rule that names it. Times are in ticks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Table {
    name: Vec<u8>,
    family: Family,
    key: Key,
    source_mask: u128,
    destination_mask: u128,
    filling: Filling,
    /// How many buckets there may be.
    room: u32,
    /// How long a bucket lasts unused.
    expire: u64,
    /// How long it takes until buckets that have expired are looked for again.
    gc_interval: u64,
}

impl Table {
    fn new(first: &Hashlimit, context: Context<'_>) -> Self {
        let tick_rate = context.options.tick_rate.max(1);
        let chains = match first.size {
            0 => DEFAULT_CHAINS,
            size => size,
        };
        let room = match first.max {
            0 => chains.saturating_mul(BUCKETS_PER_CHAIN),
            max => max.max(chains),
        };
        Table {
            name: first.name.to_vec(),
            family: context.family,
            key: first.key,
            source_mask: key::mask(context.family, first.source_length),
            destination_mask: key::mask(context.family, first.destination_length),
            filling: Filling::new(first, tick_rate),
            room,
            expire: rate::ticks(first.expire, tick_rate),
            gc_interval: rate::ticks(first.gc_interval, tick_rate),
        }
    }
}

/// The buckets of a table by their keys, and when it was last searched for those that have expired.
#[derive(Default)]
struct Buckets {
    by_key: HashMap<Vec<u8>, Bucket>,
    searched: u64,
}

impl Perform for TakeShare {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let table = &self.table;
        let now = world.jiffies;
        let Some(key) = key::of(table, packet) else {
            return NONE;
        };
        let name = format!("{:?} {:?}", table.family, table.name);
        let buckets: &mut Buckets = world.named(&name);
        let full = |buckets: &Buckets| buckets.by_key.len() >= table.room as usize;
        if !buckets.by_key.contains_key(&key) && full(buckets) {
            if now.wrapping_sub(buckets.searched) < table.gc_interval {
                return NONE;
            }
            buckets.searched = now;
            buckets.by_key.retain(|_, bucket| !bucket.is_expired(now));
            if full(buckets) {
                return NONE;
            }
        }
        let fresh = || Bucket::new(&table.filling, now);
        let bucket = buckets.by_key.entry(key).or_insert_with(fresh);
        if bucket.is_expired(now) {
            *bucket = fresh();
        }
        bucket.expires = now.wrapping_add(table.expire);
        bucket.take(&table.filling, now, packet.len()).into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        code::link(&self.table, linker)
    }

    fn reads(&self) -> Vec<Field> {
        match (self.table.asks_for_ports(), self.table.family) {
            (true, Family::V4) => vec![Field::TransportLength],
            _ => Vec::new(),
        }
    }

    fn kernel(&self) -> KernelVersion {
        KernelVersion::FOR_EACH
    }

    fn branches(&self) -> usize {
        match (self.table.asks_for_ports(), self.table.family) {
            (true, Family::V6) => 6 * crate::packet::MAX_EXTENSION_HEADERS,
            _ => 48,
        }
    }

    fn counts_packets(&self) -> bool {
        true
    }
}

impl Table {
    fn asks_for_ports(&self) -> bool {
        self.key.source_port || self.key.destination_port
    }
}

impl fmt::Display for TakeShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        let name = String::from_utf8_lossy(&table.name);
        write!(f, "share of a bucket of {name} ({:?})", table.filling)
    }
}
