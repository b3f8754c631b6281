//! Telling programs the time of day.

use ipt2bpf_codegen::module::{CLOCK_MAP, clock};
use rustix::io;
use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime, clock_gettime_dynamic};

use crate::error::{Error, Step};
use crate::maps::Maps;
use crate::sys;

const SECOND: i64 = 1_000_000_000;
/// Bytes of a value, its lock among them.
const VALUE_SIZE: usize = 8 + clock::BYTES as usize;

impl Maps {
    /// Whether the programs ask for the time of day, so that [`Maps::fill_clock`] has to be called.
    pub fn wants_clock(&self) -> bool {
        self.get(CLOCK_MAP).is_ok()
    }

    /// Tells the programs how far the time of day is from the clocks that they can read. Nothing is done
    /// where they do not ask. To be called again when the clock was set (on kernels before 6.1), or the
    /// kernel's time zone or its number of leap seconds.
    ///
    /// # Errors
    /// [`Error::NoMap`] where the map is none of ours, [`Error::Refused`].
    pub fn fill_clock(&self) -> Result<(), Error> {
        if !self.wants_clock() {
            return Ok(());
        }
        let map = self.get(CLOCK_MAP)?;
        if map.key_size != 4 || map.value_size != VALUE_SIZE {
            return Err(Error::NoMap { name: CLOCK_MAP });
        }
        let refused = || Error::refused(Step::WriteMap(CLOCK_MAP.to_owned()));
        let minutes_west = sys::kernel_timezone().map_err(refused())?;
        let real_less_tai = real_less_tai().map_err(|error| refused()(error.into()))?;
        let mut value = [0; VALUE_SIZE];
        let mut put = |offset: i16, bytes: &[u8]| {
            value[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        };
        put(clock::REAL_LESS_BOOT, &real_less_boot().to_ne_bytes());
        put(clock::REAL_LESS_TAI, &real_less_tai.to_ne_bytes());
        put(clock::MINUTES_WEST, &minutes_west.to_ne_bytes());
        put(clock::FILLED, &1u32.to_ne_bytes());
        map.update(&0u32.to_ne_bytes(), &value).map_err(refused())
    }
}

/// The time of day less the time since boot, in nanoseconds.
fn real_less_boot() -> i64 {
    let boot = || nanoseconds(clock_gettime(ClockId::Boottime));
    let before = boot();
    let real = nanoseconds(clock_gettime(ClockId::Realtime));
    let after = boot();
    real - before - (after - before) / 2
}

/// The time of day less the atomic time, in nanoseconds: whole seconds.
fn real_less_tai() -> io::Result<i64> {
    let tai = nanoseconds(clock_gettime_dynamic(DynamicClockId::Tai)?);
    let difference = nanoseconds(clock_gettime(ClockId::Realtime)) - tai;
    Ok((difference + SECOND / 2).div_euclid(SECOND) * SECOND)
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec * SECOND + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomic_time_is_whole_seconds_from_the_time_of_day() {
        let difference = real_less_tai().unwrap();
        assert_eq!(difference % SECOND, 0);
        assert!((-60 * SECOND..=0).contains(&difference), "{difference}");
    }

    #[test]
    fn the_time_since_boot_and_its_distance_give_the_time_of_day() {
        let now = |clock| nanoseconds(clock_gettime(clock));
        let error = now(ClockId::Boottime) + real_less_boot() - now(ClockId::Realtime);
        assert!(error.abs() < SECOND / 10, "{error}");
    }
}
