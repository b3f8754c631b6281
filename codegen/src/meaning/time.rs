//! `time_mt` of net/netfilter/xt_time.c: the time of day at which a packet is looked at.
//!
//! A program cannot ask for the time of day, only for clocks at some distance from it: the time since boot,
//! and from 6.1 on the international atomic time. The distance stands in the map
//! [`CLOCK_MAP`](crate::module::CLOCK_MAP), which a loader fills; until then every packet that asks is
//! dropped. Atomic time follows the clock when it is set, so that the distance only changes when the kernel
//! is told of leap seconds; the time since boot does not.

use std::fmt;

use ipt2bpf_parser::matches::time::Time;

use super::{Context, MatchMeaning, Refusal};
use crate::asm::{Alu, Cond, Helper, Imm64, Reg, Size};
use crate::emit::link::{Call, Linker};
use crate::field::Field;
use crate::module::{CLOCK_MAP, MapKind, clock};
use crate::options::KernelVersion;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

const NANOSECONDS: i32 = 1_000_000_000;
const MINUTE: i32 = 60;
const DAY: i32 = 24 * 60 * 60;
/// Every bit that a day of the month has.
const EVERY_MONTHDAY: u32 = 0xffff_fffe;
/// Days from 1 March 1968 to 1 January 1970. Counted from there, a leap day ends each cycle of four years,
/// until 2100.
const DAYS_SINCE_MARCH_1968: i32 = 671;
const DAYS_OF_FOUR_YEARS: i32 = 4 * 365 + 1;

/// The answer when the map is not filled.
const UNKNOWN: u32 = 2;

impl MatchMeaning for Time {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let asked = AskClock {
            first_second: self.first_second,
            last_second: self.last_second,
            day_start: self.day_start,
            day_stop: self.day_stop,
            weekdays: self.weekdays,
            monthdays: self.monthdays,
            kernel_timezone: self.kernel_timezone,
            contiguous: self.contiguous,
        };
        Ok(vec![
            Step::Ask(asked.into()),
            Step::demand(Test::Not(Box::new(Test::equal(Field::Answer, UNKNOWN)))),
            Step::require(Test::equal(Field::Answer, 1)),
        ])
    }
}

/// Answers 1 when it is one of these times, [`UNKNOWN`] when the time is not known. The parts are those of
/// [`Time`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AskClock {
    first_second: u32,
    last_second: u32,
    day_start: u32,
    day_stop: u32,
    weekdays: u8,
    monthdays: u32,
    kernel_timezone: bool,
    contiguous: bool,
}

impl AskClock {
    fn holds_at(&self, now: i64) -> bool {
        if now < self.first_second.into() || now > self.last_second.into() {
            return false;
        }
        let (start, stop) = (i64::from(self.day_start), i64::from(self.day_stop));
        let second = now.rem_euclid(DAY.into());
        let mut day = now.div_euclid(DAY.into());
        if start < stop {
            if second < start || second > stop {
                return false;
            }
        } else {
            if second < start && second > stop {
                return false;
            }
            if self.contiguous && second <= stop {
                day -= 1;
            }
        }
        // 1 January 1970 was a Thursday.
        let weekday = (day + 3).rem_euclid(7) + 1;
        let has_weekday = self.weekdays & 1 << weekday != 0;
        let has_monthday = self.monthdays == EVERY_MONTHDAY
            || self.monthdays.checked_shr(day_of_month(day)).unwrap_or(0) & 1 != 0;
        has_weekday && has_monthday
    }
}

/// The day of the month, from 1, of a day since 1970, by counting.
fn day_of_month(day: i64) -> u32 {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut left, mut year) = (day, 1970);
    if left < 0 {
        left += 365;
        year -= 1;
    }
    loop {
        let february = if is_leap(year) { 29 } else { 28 };
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if left < length {
                return left as u32 + 1;
            }
            left -= length;
        }
        year += 1;
    }
}

impl Perform for AskClock {
    fn perform(&self, _: &mut Packet<'_>, world: &mut World) -> u32 {
        let west = match self.kernel_timezone {
            true => i64::from(MINUTE) * i64::from(world.minutes_west),
            false => 0,
        };
        self.holds_at(world.seconds.wrapping_sub(west)).into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let clock_map = linker.map(
            CLOCK_MAP,
            MapKind::State {
                entries: 1,
                bytes: clock::BYTES,
            },
        );
        let (helper, distance) = match linker.options.target_kernel >= Some(KernelVersion::TAI) {
            true => (Helper::KtimeGetTaiNs, clock::REAL_LESS_TAI),
            false => (Helper::KtimeGetBootNs, clock::REAL_LESS_BOOT),
        };
        let function = linker.function("time", 0, |body| {
            let code = &mut body.code;
            let (unknown, no) = (code.label(), code.label());
            let (now, second, day) = (Reg::R8, Reg::R9, Reg::R2);
            code.call(helper);
            code.mov(now, Reg::R0);
            code.store(Size::W, Reg::R10, -4, 0);
            body.look_up(clock_map, -4, unknown);
            let code = &mut body.code;
            code.load(Size::W, Reg::R1, Reg::R0, clock::FILLED);
            code.branch(Cond::Eq, Reg::R1, 0, unknown);
            code.load(Size::D, Reg::R1, Reg::R0, distance);
            code.alu(Alu::Add, now, Reg::R1);
            code.alu(Alu::Div, now, NANOSECONDS);
            if self.kernel_timezone {
                code.load(Size::W, Reg::R1, Reg::R0, clock::MINUTES_WEST);
                code.alu(Alu::Lsh, Reg::R1, 32);
                code.alu(Alu::Arsh, Reg::R1, 32);
                code.alu(Alu::Mul, Reg::R1, MINUTE);
                code.alu(Alu::Sub, now, Reg::R1);
            }
            code.load_imm64(Reg::R1, Imm64::Number(self.first_second.into()));
            code.branch(Cond::Slt, now, Reg::R1, no);
            code.load_imm64(Reg::R1, Imm64::Number(self.last_second.into()));
            code.branch(Cond::Sgt, now, Reg::R1, no);
            code.mov(second, now);
            code.alu(Alu::Mod, second, DAY);
            code.mov(day, now);
            code.alu(Alu::Div, day, DAY);
            let (start, stop) = (self.day_start as i32, self.day_stop as i32);
            let inside = code.label();
            if start < stop {
                code.branch(Cond::Lt, second, start, no);
                code.branch(Cond::Gt, second, stop, no);
            } else {
                code.branch(Cond::Ge, second, start, inside);
                code.branch(Cond::Gt, second, stop, no);
            }
            code.bind(inside);
            if self.contiguous {
                let same_day = code.label();
                code.branch(Cond::Gt, second, stop, same_day);
                code.alu(Alu::Sub, day, 1);
                code.bind(same_day);
            }
            // 1 January 1970 was a Thursday; the day before may be one of 1969.
            code.mov(Reg::R1, day);
            code.alu(Alu::Add, Reg::R1, 7 + 3);
            code.alu(Alu::Mod, Reg::R1, 7);
            code.mov(Reg::R3, i32::from(self.weekdays >> 1));
            code.alu(Alu::Rsh, Reg::R3, Reg::R1);
            code.alu(Alu::And, Reg::R3, 1);
            code.branch(Cond::Eq, Reg::R3, 0, no);
            if self.monthdays != EVERY_MONTHDAY {
                // The day of a year that begins in March, whose months have 31, 30, 31, 30 and 31 days
                // over and over: 153 in five.
                code.alu(Alu::Add, day, DAYS_SINCE_MARCH_1968);
                code.alu(Alu::Mod, day, DAYS_OF_FOUR_YEARS);
                code.mov(Reg::R1, day);
                code.alu(Alu::Div, Reg::R1, DAYS_OF_FOUR_YEARS - 1);
                code.mov(Reg::R3, day);
                code.alu(Alu::Sub, Reg::R3, Reg::R1);
                code.alu(Alu::Div, Reg::R3, 365);
                code.alu(Alu::Mul, Reg::R3, 365);
                code.alu(Alu::Sub, day, Reg::R3);
                code.mov(Reg::R1, day);
                code.alu(Alu::Mul, Reg::R1, 5);
                code.alu(Alu::Add, Reg::R1, 2);
                code.alu(Alu::Div, Reg::R1, 153);
                code.alu(Alu::Mul, Reg::R1, 153);
                code.alu(Alu::Add, Reg::R1, 2);
                code.alu(Alu::Div, Reg::R1, 5);
                code.alu(Alu::Sub, day, Reg::R1);
                code.alu(Alu::Add, day, 1);
                code.load_imm64(Reg::R3, Imm64::Number(self.monthdays.into()));
                code.alu(Alu::And, day, 63);
                code.alu(Alu::Rsh, Reg::R3, day);
                code.alu(Alu::And, Reg::R3, 1);
                code.branch(Cond::Eq, Reg::R3, 0, no);
            }
            body.answer(1);
            body.code.bind(no);
            body.answer(0);
            body.code.bind(unknown);
            body.answer(UNKNOWN as i32);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }
}

impl fmt::Display for AskClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first_second,
            last_second,
            day_start,
            day_stop,
            weekdays,
            monthdays,
            ..
        } = self;
        write!(
            f,
            "time from {first_second} to {last_second}, of the day from {day_start} to {day_stop}, \
             weekdays {weekdays:#x}, days of the month {monthdays:#x}"
        )?;
        if self.kernel_timezone {
            f.write_str(", by the kernel's time zone")?;
        }
        if self.contiguous {
            f.write_str(", counted on from the day before")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::day_of_month;

    #[test]
    fn days_of_months_are_counted() {
        let days = [
            (0, 1),
            (31, 1),
            (58, 28),
            (59, 1),
            (789, 29),
            (790, 1),
            (-1, 31),
            (20779, 22),
        ];
        for (day, expected) in days {
            assert_eq!(day_of_month(day), expected, "{day}");
        }
    }
}
