//! `struct idletimer_tg_info_v1` (netfilter/xt_IDLETIMER.h). The kernel's pointer is zero on the wire.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{until_nul, with_nul};
use crate::targets::idletimer::{Idletimer, LONGEST, can_name_a_timer};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Idletimer1 {
    timeout: U32,
    label: [u8; 28],
    /// Of Android's kernels.
    sends_messages: u8,
    timer_type: u8,
    padding: [u8; 6],
    kernel: [u8; 8],
}

/// `XT_IDLETIMER_ALARM`
const ALARM: u8 = 0x01;

impl Wire for Idletimer1 {
    type Value = Idletimer;
    const NAME: &'static str = "IDLETIMER";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Idletimer>, Refused> {
        let timeout = self.timeout.get();
        if timeout == 0 || u64::from(timeout) > LONGEST {
            return Err(Refused("a time of zero, or too long a one"));
        }
        let label = until_nul(&self.label).filter(|label| can_name_a_timer(label));
        let label = label.ok_or(Refused("a label that cannot name a timer"))?;
        if self.sends_messages != 0 {
            return Err(Refused("messages of Android"));
        }
        if self.timer_type > ALARM {
            return Err(Refused("an unknown kind of timer"));
        }
        Ok(Some(Idletimer {
            timeout,
            label: label.into(),
            alarm: self.timer_type == ALARM,
        }))
    }

    fn write(value: &Idletimer, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            timeout: value.timeout.into(),
            label: with_nul(&value.label)?,
            sends_messages: 0,
            timer_type: u8::from(value.alarm),
            padding: [0; 6],
            kernel: [0; 8],
        })
    }
}
