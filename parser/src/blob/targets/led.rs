//! `struct xt_led_info` (netfilter/xt_LED.h). The kernel's pointer is zero on the wire.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{until_nul, with_nul};
use crate::targets::led::Led;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Led0 {
    trigger: [u8; 27],
    always_blink: u8,
    delay: U32,
    kernel: [u8; 8],
}

/// What the tool writes before the name of the option.
const PREFIX: &[u8] = b"netfilter-";

impl Wire for Led0 {
    type Value = Led;
    const NAME: &'static str = "LED";

    fn read(&self, _: &Context<'_>) -> Result<Option<Led>, Refused> {
        if self.trigger[0] == 0 {
            return Err(Refused("no trigger"));
        }
        let trigger = until_nul(&self.trigger).and_then(|trigger| trigger.strip_prefix(PREFIX));
        Ok(trigger.map(|trigger| Led {
            trigger: trigger.into(),
            delay: self.delay.get(),
            always_blink: self.always_blink != 0,
        }))
    }

    fn write(value: &Led, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            trigger: with_nul(&[PREFIX, &value.trigger].concat())?,
            always_blink: u8::from(value.always_blink),
            delay: value.delay.into(),
            kernel: [0; 8],
        })
    }
}
