//! `struct xt_time_info` (netfilter/xt_time.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::matches::time::Time;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Time0 {
    first_second: U32,
    last_second: U32,
    day_start: U32,
    day_stop: U32,
    monthdays: U32,
    weekdays: u8,
    flags: u8,
    padding: [u8; 2],
}

/// `XT_TIME_LOCAL_TZ`
const LOCAL: u8 = 0x01;
/// `XT_TIME_CONTIGUOUS`
const CONTIGUOUS: u8 = 0x02;
/// `XT_TIME_MAX_DAYTIME`
const LAST_OF_DAY: u32 = 86_399;

impl Wire for Time0 {
    type Value = Time;
    const NAME: &'static str = "time";

    fn read(&self, _: &Context<'_>) -> Result<Option<Time>, Refused> {
        let (day_start, day_stop) = (self.day_start.get(), self.day_stop.get());
        if day_start > LAST_OF_DAY || day_stop > LAST_OF_DAY {
            return Err(Refused("a time past the end of the day"));
        }
        if self.flags & !(LOCAL | CONTIGUOUS) != 0 {
            return Err(Refused("an unknown flag"));
        }
        let contiguous = self.flags & CONTIGUOUS != 0;
        if contiguous && day_start < day_stop {
            return Err(Refused("contiguous hours that end on the same day"));
        }
        if self.weekdays & 1 != 0 || self.monthdays.get() & 1 != 0 {
            return Ok(None);
        }
        Ok(Some(Time {
            first_second: self.first_second.get(),
            last_second: self.last_second.get(),
            day_start,
            day_stop,
            weekdays: self.weekdays,
            monthdays: self.monthdays.get(),
            kernel_timezone: self.flags & LOCAL != 0,
            contiguous,
        }))
    }

    fn write(value: &Time, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            first_second: value.first_second.into(),
            last_second: value.last_second.into(),
            day_start: value.day_start.into(),
            day_stop: value.day_stop.into(),
            monthdays: value.monthdays.into(),
            weekdays: value.weekdays,
            flags: flag(value.kernel_timezone, LOCAL) | flag(value.contiguous, CONTIGUOUS),
            padding: [0; 2],
        })
    }
}
