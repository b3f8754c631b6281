//! `limit_mt` of net/netfilter/xt_limit.c: a bucket of credit for each rule, refilled with time.

use std::fmt;

use ipt2bpf_parser::matches::limit::Limit;

use super::{Context, MatchMeaning, Refusal};
use crate::asm::{Alu, Cond, Helper, Imm64, Reg, Size};
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::{Perform, Place, World};
use crate::semantic::{Step, Test};

/// The map of the buckets.
pub const BUCKETS: &str = "limits";

impl MatchMeaning for Limit {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let scale = Scale::new(context.options.tick_rate);
        let take = TakeToken {
            place: context.place,
            cost: scale.credits(self.average),
            cap: scale.credits(self.average.wrapping_mul(self.burst)),
            credits_per_tick: scale.credits_per_tick,
        };
        Ok(vec![
            Step::Ask(take.into()),
            Step::require(Test::equal(Field::Answer, 1)),
        ])
    }
}

/// How the kernel counts: in credits, of which each tick brings some.
struct Scale {
    credits_per_tick: u32,
    credits_per_second: u32,
}

impl Scale {
    /// The kernel takes the greatest power of two with which a day's credits still fit 32 bits.
    fn new(ticks_per_second: u32) -> Self {
        let day = u64::from(ticks_per_second.max(1)) * 60 * 60 * 24;
        let most = (u64::from(u32::MAX) / day).max(1);
        let credits_per_tick = 1 << most.ilog2();
        Scale {
            credits_per_tick,
            credits_per_second: ticks_per_second.wrapping_mul(credits_per_tick),
        }
    }

    /// `user2credits`: from ten-thousandths of a second, in 32 bits, coarsely where it would overflow.
    fn credits(&self, time: u32) -> u32 {
        const SCALE: u32 = 10_000;
        match time > u32::MAX / self.credits_per_second.max(1) {
            true => (time / SCALE).wrapping_mul(self.credits_per_second),
            false => time.wrapping_mul(self.credits_per_second) / SCALE,
        }
    }
}

/// Takes a token from a bucket; answers 1 when there was one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TakeToken {
    place: Place,
    cost: u32,
    cap: u32,
    credits_per_tick: u32,
}

/// A bucket after its first packet, before which it is full.
#[derive(Default)]
struct Bucket(Option<BucketState>);

#[derive(Clone, Copy)]
struct BucketState {
    credit: u32,
    filled: u32,
}

/// Where the state lies in the map's value, behind the lock.
mod value {
    pub const CREDIT: i16 = 8;
    pub const FILLED: i16 = 12;
    /// 1 after the first packet.
    pub const STARTED: i16 = 16;
    pub const BYTES: u32 = 12;
}

impl Perform for TakeToken {
    fn perform(&self, _: &mut Packet<'_>, world: &mut World) -> u32 {
        let now = world.jiffies as u32;
        let bucket: &mut Bucket = world.at(self.place);
        let before = bucket.0.unwrap_or(BucketState {
            credit: self.cap,
            filled: now,
        });
        let gained = now
            .wrapping_sub(before.filled)
            .wrapping_mul(self.credits_per_tick);
        let credit = before.credit.wrapping_add(gained).min(self.cap);
        let left = credit.checked_sub(self.cost);
        bucket.0 = Some(BucketState {
            credit: left.unwrap_or(credit),
            filled: now,
        });
        left.is_some().into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let (map, index) = linker.state(BUCKETS, self.place, value::BYTES);
        let per_tick = self.credits_per_tick as i32;
        let function = linker.function("limit", 3, |body| {
            let (bucket, cost, cap) = (Reg::R6, Reg::R8, Reg::R9);
            let code = &mut body.code;
            code.store(Size::W, Reg::R10, -4, Reg::R3);
            code.mov(cost, Reg::R4);
            code.mov(cap, Reg::R5);
            code.call(Helper::Jiffies64);
            code.store(Size::D, Reg::R10, -16, Reg::R0);
            code.load_imm64(Reg::R1, Imm64::Map(map));
            body.stack(Reg::R2, -4);
            let code = &mut body.code;
            code.call(Helper::MapLookupElem);
            let none = code.label();
            code.branch(Cond::Eq, Reg::R0, 0, none);
            code.mov(bucket, Reg::R0);
            code.mov(Reg::R1, bucket);
            code.call(Helper::SpinLock);
            let (credit, now, before) = (Reg::R3, Reg::R1, Reg::R2);
            let (full, filled, empty, done) =
                (code.label(), code.label(), code.label(), code.label());
            code.load(Size::W, now, Reg::R10, -16);
            code.load(Size::W, credit, bucket, value::STARTED);
            code.branch32(Cond::Eq, credit, 0, full);
            code.load(Size::W, before, bucket, value::FILLED);
            code.load(Size::W, credit, bucket, value::CREDIT);
            code.mov(Reg::R4, now);
            code.alu32(Alu::Sub, Reg::R4, before);
            code.alu32(Alu::Mul, Reg::R4, per_tick);
            code.alu32(Alu::Add, credit, Reg::R4);
            code.branch32(Cond::Le, credit, cap, filled);
            code.bind(full);
            code.mov(credit, cap);
            code.bind(filled);
            code.store(Size::W, bucket, value::FILLED, now);
            code.store(Size::W, bucket, value::STARTED, 1);
            code.mov(Reg::R9, 0);
            code.branch32(Cond::Lt, credit, cost, empty);
            code.alu32(Alu::Sub, credit, cost);
            code.mov(Reg::R9, 1);
            code.bind(empty);
            code.store(Size::W, bucket, value::CREDIT, credit);
            code.mov(Reg::R1, bucket);
            code.call(Helper::SpinUnlock);
            code.jump(done);
            code.bind(none);
            code.mov(Reg::R9, 0);
            code.bind(done);
            body.answer(Reg::R9);
        });
        Call {
            function,
            arguments: vec![index, self.cost, self.cap],
        }
    }
}

impl fmt::Display for TakeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token for {} of {} credits", self.cost, self.cap)
    }
}
