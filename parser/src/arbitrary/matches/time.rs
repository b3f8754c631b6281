//! `-m time`

use proptest::prelude::*;

use crate::matches::time::Time;

/// Times that can come: an empty list of days, or a stop in the first second of 1970, is not printed.
pub(super) fn time() -> impl Strategy<Value = Time> {
    /// The first second of 2039, which cannot be written.
    const END: u32 = 2_177_452_800;
    let dates = (0..END, 1..END);
    let hours = (0..86_400_u32, 0..86_400_u32);
    let days = (1..=0x7f_u8, 1..=0x7fff_ffff_u32);
    (dates, hours, days, any::<[bool; 2]>()).prop_map(
        |((a, b), (day_start, day_stop), (weekdays, monthdays), switches)| Time {
            first_second: a.min(b),
            last_second: a.max(b),
            day_start,
            day_stop,
            weekdays: weekdays << 1,
            monthdays: monthdays << 1,
            kernel_timezone: switches[0],
            contiguous: switches[1] && day_start >= day_stop,
        },
    )
}
