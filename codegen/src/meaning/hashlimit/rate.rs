//! How buckets fill and empty.

use ipt2bpf_parser::matches::hashlimit::{Hashlimit, Rate};

/// `XT_HASHLIMIT_SCALE_v2`: parts of a second.
const SCALE: u64 = 1_000_000;
/// `XT_HASHLIMIT_BYTE_SHIFT`: a token is for 16 bytes.
pub const TOKEN_SHIFT: u32 = 4;
const DAY: u64 = 24 * 60 * 60;

/// The constants of a table's buckets, as `rateinfo_init` computes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filling {
    /// Packets for credit.
    Packets {
        /// What a packet costs.
        cost: u64,
        /// The most that may be saved up, which a fresh bucket has.
        cap: u64,
        /// What a tick brings.
        per_tick: u64,
    },
    /// Bytes for credit, of which a bucket holds that of a second.
    Bytes {
        /// What a token costs.
        cost: u64,
        /// How often an empty bucket is filled at once.
        refills: u64,
        /// The credit of a second.
        second: u64,
        /// What a tick brings.
        per_tick: u64,
    },
    /// `--hashlimit-rate-match`: what comes in an interval, compared with the rate.
    Window {
        /// Whether bytes are counted, or packets.
        bytes: bool,
        /// What may come in a second.
        rate: u64,
        /// What may come in an interval.
        burst: u64,
        /// The interval in ticks.
        interval: u64,
    },
}

impl Filling {
    /// In the kernel's arithmetic, which wraps.
    pub fn new(first: &Hashlimit, tick_rate: u32) -> Self {
        let ticks = u64::from(tick_rate);
        match (first.rate, first.interval) {
            (Rate::Packets { average, burst }, None) => {
                let per_tick = power_of_two_up_to(u64::MAX / (ticks * DAY));
                let per_second = ticks.wrapping_mul(per_tick);
                let credits = |time: u64| match SCALE >= per_second {
                    true => time / (SCALE / per_second.max(1)),
                    false => time.wrapping_mul(per_second / SCALE),
                };
                Filling::Packets {
                    cost: credits(average),
                    cap: credits(average.wrapping_mul(burst)),
                    per_tick,
                }
            }
            (Rate::Bytes { cost, burst }, None) => {
                let per_tick = power_of_two_up_to(u64::from(u32::MAX) / ticks);
                let second = ticks * per_tick;
                Filling::Bytes {
                    cost: (u64::from(cost) * second) >> 32,
                    refills: burst.into(),
                    second,
                    per_tick,
                }
            }
            (Rate::Packets { average, burst }, Some(interval)) => {
                let rate = SCALE.checked_div(average).unwrap_or(0);
                Filling::Window {
                    bytes: false,
                    rate,
                    burst: burst.wrapping_add(rate),
                    interval: interval.wrapping_mul(tick_rate).into(),
                }
            }
            (Rate::Bytes { cost, burst }, Some(interval)) => {
                let tokens = u32::MAX.checked_div(cost).unwrap_or(u32::MAX);
                let rate = (u64::from(tokens) - 1) << TOKEN_SHIFT;
                Filling::Window {
                    bytes: true,
                    rate,
                    burst: match burst {
                        0 => rate,
                        burst => rate.wrapping_mul(burst.into()),
                    },
                    interval: interval.wrapping_mul(tick_rate).into(),
                }
            }
        }
    }
}

fn power_of_two_up_to(most: u64) -> u64 {
    1 << most.max(1).ilog2()
}

/// `msecs_to_jiffies`: rounded up; what is negative as an int is for ever.
pub fn ticks(milliseconds: u32, tick_rate: u32) -> u64 {
    const FOR_EVER: u64 = (i64::MAX as u64 >> 1) - 1;
    match i32::try_from(milliseconds) {
        Ok(_) => (u64::from(milliseconds) * u64::from(tick_rate)).div_ceil(1000),
        Err(_) => FOR_EVER,
    }
}

/// A bucket. What the parts hold depends on the [`Filling`].
pub struct Bucket {
    /// When it is dropped if it is not used before.
    pub expires: u64,
    /// The tick up to which it has been filled.
    previous: u64,
    /// The credit; in a window, what has come.
    credit: u64,
    /// How often it may still be filled at once; in a window, whether the one before was over the rate.
    refills: u64,
}

impl Bucket {
    /// A fresh one, which expires only once that is set.
    pub fn new(filling: &Filling, now: u64) -> Self {
        let (credit, refills) = match filling {
            Filling::Packets { cap, .. } => (*cap, 0),
            Filling::Bytes {
                refills, second, ..
            } => (*second, *refills),
            Filling::Window { .. } => (0, 0),
        };
        Bucket {
            expires: now.wrapping_add(1),
            previous: now,
            credit,
            refills,
        }
    }

    /// `select_gc`
    pub fn is_expired(&self, now: u64) -> bool {
        now.wrapping_sub(self.expires).cast_signed() >= 0
    }

    /// `rateinfo_recalc` and what follows it: whether a packet of this length keeps to the rate.
    pub fn take(&mut self, filling: &Filling, now: u64, length: u64) -> bool {
        let elapsed = now.wrapping_sub(self.previous);
        match *filling {
            Filling::Packets {
                cost,
                cap,
                per_tick,
            } => {
                if elapsed != 0 {
                    self.previous = now;
                    let gained = elapsed.wrapping_mul(per_tick);
                    self.credit = self.credit.wrapping_add(gained).min(cap);
                }
                self.spend(cost)
            }
            Filling::Bytes {
                cost,
                second,
                per_tick,
                ..
            } => {
                if elapsed != 0 {
                    self.previous = now;
                    let credit = self.credit.wrapping_add(elapsed.wrapping_mul(per_tick));
                    self.credit = match self.credit >= credit {
                        true => second,
                        false => credit.min(second),
                    };
                }
                let tokens = (length >> TOKEN_SHIFT) + 1;
                let cost = (tokens * cost).min(second);
                if self.credit < cost && self.refills != 0 {
                    self.refills -= 1;
                    self.credit = second;
                }
                self.spend(cost)
            }
            Filling::Window {
                bytes,
                rate,
                burst,
                interval,
            } => {
                if elapsed != 0 && elapsed >= interval {
                    self.previous = now;
                    let came = self.credit.wrapping_mul(interval);
                    self.refills = (came > elapsed.wrapping_mul(rate)).into();
                    self.credit = 0;
                }
                let size = if bytes { length } else { 1 };
                self.credit = self.credit.wrapping_add(size);
                self.refills == 0 && self.credit <= burst
            }
        }
    }

    fn spend(&mut self, cost: u64) -> bool {
        match self.credit.checked_sub(cost) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_up_to_ticks() {
        assert_eq!(ticks(1, 250), 1);
        assert_eq!(ticks(1000, 250), 250);
        assert_eq!(ticks(1001, 300), 301);
        assert_eq!(ticks(u32::MAX, 1000), (1 << 62) - 2);
    }
}
