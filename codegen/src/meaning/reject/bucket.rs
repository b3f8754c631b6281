//! How many ICMP errors are sent, so that nobody is flooded in another's name.
//!
//! As in the kernel there are two token buckets, and an error needs a token of each: one for each
//! receiver, of six tokens and a new one every second (IPv4, `icmp_ratelimit`) or every tenth of a second
//! (IPv6), and one for all, of 50 tokens and 1,000 new ones a second (`icmp_msgs_per_sec`,
//! `icmp_msgs_burst`). The figures are the kernel's defaults (net/ipv4/icmp.c, net/ipv6/icmp.c,
//! `inet_peer_xrlim_allow` in net/ipv4/inetpeer.c) and fixed here; the kernel gives IPv6 networks of less
//! than 128 bits more, and takes a little more than a token at random from the bucket for all.

use std::collections::HashMap;

use ipt2bpf_parser::ruleset::Family;

use crate::asm::{Alu, Cond, FunctionId, Helper, Imm64, MapId, Operand, Reg, Size};
use crate::emit::link::{Body, Linker, PACKET};
use crate::field::Field;
use crate::module::{HashShape, MapKind};
use crate::routine::World;

/// The map of the bucket for all.
const ALL: &str = "reject_all";
/// Receivers whose buckets are remembered; who is forgotten starts with a full one.
const RECEIVERS: u32 = 4096;

/// What fills and empties a bucket, in credits.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// New ones each tick.
    gain: u32,
    /// What an error costs.
    cost: u32,
    /// As many as fit.
    full: u32,
}

impl Rate {
    fn of_one(family: Family, ticks_per_second: u32) -> Self {
        let cost = match family {
            Family::V4 => ticks_per_second,
            Family::V6 => ticks_per_second / 10,
        };
        let cost = cost.clamp(1, MAX_TICK_RATE);
        Rate {
            gain: 1,
            cost,
            full: 6 * cost,
        }
    }

    fn of_all(ticks_per_second: u32) -> Self {
        let cost = ticks_per_second.clamp(1, MAX_TICK_RATE);
        Rate {
            gain: 1000,
            cost,
            full: 50 * cost,
        }
    }
}

/// More ticks a second than any kernel has.
const MAX_TICK_RATE: u32 = 1_000_000;

/// A bucket of the reference.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    filled: u64,
    credit: u64,
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: u64) -> bool {
        if now > self.filled {
            let gained = (now - self.filled).wrapping_mul(rate.gain.into());
            self.credit = self.credit.wrapping_add(gained).min(rate.full.into());
            self.filled = now;
        }
        let left = self.credit.checked_sub(rate.cost.into());
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }
}

/// The buckets of the receivers of a family.
#[derive(Default)]
struct Buckets(HashMap<Vec<u8>, Bucket>);

/// Takes a token for an error to an address, when there is one.
pub fn take(family: Family, receiver: &[u8], ticks_per_second: u32, world: &mut World) -> bool {
    let now = world.jiffies;
    let rate = Rate::of_one(family, ticks_per_second);
    let buckets: &mut Buckets = world.named(map_name(family));
    let full = Bucket {
        filled: now,
        credit: rate.full.into(),
    };
    let bucket = buckets.0.entry(receiver.to_vec()).or_insert(full);
    let all = Rate::of_all(ticks_per_second);
    bucket.take(rate, now) && world.named::<Bucket>(ALL).take(all, now)
}

fn map_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "reject4",
        Family::V6 => "reject6",
    }
}

/// How a bucket lies in a map's value, or behind its lock.
mod value {
    pub const FILLED: i16 = 0;
    pub const CREDIT: i16 = 8;
    pub const BYTES: u32 = 16;
}

/// Whether a map's buckets have locks. A map that forgets cannot have them: two processors may take the
/// same token of one receiver, but not of the bucket for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    None,
    Each,
}

impl Lock {
    /// Bytes before the bucket.
    fn bytes(self) -> i16 {
        match self {
            Lock::None => 0,
            Lock::Each => 8,
        }
    }
}

/// The function that takes a token for an error to the packet's sender: 1 when there was one.
pub fn link(linker: &mut Linker<'_>) -> FunctionId {
    let (family, ticks) = (linker.family, linker.options.tick_rate);
    let (field, key) = match family {
        Family::V4 => (Field::Source4, 4),
        Family::V6 => (Field::Source6, 16),
    };
    let shape = HashShape {
        key,
        bytes: value::BYTES,
        entries: RECEIVERS,
        evicts: true,
        locked: false,
    };
    let one = linker.map(map_name(family), MapKind::Hash(shape));
    let state = MapKind::State {
        entries: 1,
        bytes: value::BYTES,
    };
    let all = linker.map(ALL, state);
    linker.function("limit_answers", 0, |body| {
        let now = Reg::R8;
        let [none, known, both] = [(); 3].map(|()| body.code.label());
        body.code.call(Helper::Jiffies64);
        body.code.mov(now, Reg::R0);
        let source = field.place();
        for word in (0..i16::from(source.size)).step_by(4) {
            let code = &mut body.code;
            code.load(Size::W, Reg::R1, PACKET, source.offset + word);
            code.store(Size::W, Reg::R10, KEY + word, Reg::R1);
        }
        look_up(body, one);
        body.code.branch(Cond::Ne, Reg::R0, 0, known);
        new_bucket(body, one, Rate::of_one(family, ticks), now);
        body.code.jump(both);
        body.code.bind(known);
        take_token(body, Lock::None, Rate::of_one(family, ticks), now);
        body.code.branch(Cond::Eq, Reg::R0, 0, none);
        body.code.bind(both);
        body.code.store(Size::W, Reg::R10, KEY, 0);
        look_up(body, all);
        body.code.branch(Cond::Eq, Reg::R0, 0, none);
        take_token(body, Lock::Each, Rate::of_all(ticks), now);
        body.code.bind(none);
        body.answer(Reg::R0);
    })
}

/// The key on the stack, and the value of a new bucket.
const KEY: i16 = -16;
const VALUE: i16 = -32;
/// Whether a token was taken.
const TAKEN: i16 = -36;

/// `r0 = value of the key on the stack`, or null
fn look_up(body: &mut Body, map: MapId) {
    body.code.load_imm64(Reg::R1, Imm64::Map(map));
    body.stack(Reg::R2, KEY);
    body.code.call(Helper::MapLookupElem);
}

/// Adds a bucket from which a token is taken already. When that fails, the bucket for all limits.
fn new_bucket(body: &mut Body, map: MapId, rate: Rate, now: Reg) {
    let code = &mut body.code;
    let left = (rate.full - rate.cost) as i32;
    code.store(Size::D, Reg::R10, VALUE + value::FILLED, now);
    code.store(Size::D, Reg::R10, VALUE + value::CREDIT, left);
    code.load_imm64(Reg::R1, Imm64::Map(map));
    body.stack(Reg::R2, KEY);
    body.stack(Reg::R3, VALUE);
    body.code.mov(Reg::R4, 0);
    body.code.call(Helper::MapUpdateElem);
}

/// `r0 = whether a token could be taken from the bucket at r0`; R9 is lost.
fn take_token(body: &mut Body, lock: Lock, rate: Rate, now: Reg) {
    let code = &mut body.code;
    let (bucket, credit) = (Reg::R9, Reg::R2);
    let [filled, empty] = [(); 2].map(|()| code.label());
    let imm = |number: u32| Operand::Imm(number as i32);
    let (filled_at, credit_at) = (lock.bytes() + value::FILLED, lock.bytes() + value::CREDIT);
    code.mov(bucket, Reg::R0);
    if lock == Lock::Each {
        code.mov(Reg::R1, bucket);
        code.call(Helper::SpinLock);
    }
    code.load(Size::D, credit, bucket, credit_at);
    code.load(Size::D, Reg::R1, bucket, filled_at);
    code.branch(Cond::Le, now, Reg::R1, filled);
    code.mov(Reg::R3, now);
    code.alu(Alu::Sub, Reg::R3, Reg::R1);
    code.alu(Alu::Mul, Reg::R3, imm(rate.gain));
    code.alu(Alu::Add, credit, Reg::R3);
    code.store(Size::D, bucket, filled_at, now);
    code.branch(Cond::Le, credit, imm(rate.full), filled);
    code.mov(credit, imm(rate.full));
    code.bind(filled);
    code.mov(Reg::R1, 0);
    code.branch(Cond::Lt, credit, imm(rate.cost), empty);
    code.alu(Alu::Sub, credit, imm(rate.cost));
    code.mov(Reg::R1, 1);
    code.bind(empty);
    code.store(Size::D, bucket, credit_at, credit);
    code.store(Size::W, Reg::R10, TAKEN, Reg::R1);
    if lock == Lock::Each {
        code.mov(Reg::R1, bucket);
        code.call(Helper::SpinUnlock);
    }
    code.load(Size::W, Reg::R0, Reg::R10, TAKEN);
}
