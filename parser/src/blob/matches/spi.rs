//! `struct xt_esp` (netfilter/xt_esp.h), `struct ipt_ah` (netfilter_ipv4/ipt_ah.h), which is the same,
//! and `struct ip6t_ah` (netfilter_ipv6/ip6t_ah.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::ah::{Ah, Ah6};
use crate::matches::esp::Esp;
use crate::range::Range;
use crate::ruleset::{Family, Negatable};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Esp0 {
    low: U32,
    high: U32,
    inverted: u8,
    padding: [u8; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ah40(Esp0);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ah60 {
    low: U32,
    high: U32,
    length: U32,
    reserved: u8,
    inverted: u8,
    padding: [u8; 2],
}

/// `XT_ESP_INV_SPI`, `IPT_AH_INV_SPI`, `IP6T_AH_INV_SPI`
const INVERTED: u8 = 0x01;
/// `IP6T_AH_INV_LEN`
const NOT_LENGTH: u8 = 0x02;

impl Esp0 {
    fn read_range(&self) -> Result<Negatable<Range<u32>>, Refused> {
        if self.inverted & !INVERTED != 0 {
            return Err(Refused("an unknown inversion"));
        }
        let range = Range {
            low: self.low.get(),
            high: self.high.get(),
        };
        Ok(test(self.inverted != 0, range))
    }

    fn write_range(value: &Negatable<Range<u32>>) -> Self {
        let Range { low, high } = value.value.value;
        Self {
            low: low.into(),
            high: high.into(),
            inverted: flag(value.negated, INVERTED),
            padding: [0; 3],
        }
    }
}

impl Wire for Esp0 {
    type Value = Esp;
    const NAME: &'static str = "esp";
    const PROTOCOLS: &'static [u8] = &[50];

    fn read(&self, _: &Context<'_>) -> Result<Option<Esp>, Refused> {
        self.read_range().map(|spi| Some(Esp { spi }))
    }

    fn write(value: &Esp, _: &Context<'_>) -> Option<Self> {
        Some(Self::write_range(&value.spi))
    }
}

impl Wire for Ah40 {
    type Value = Ah;
    const NAME: &'static str = "ah";
    const FAMILY: Option<Family> = Some(Family::V4);
    const PROTOCOLS: &'static [u8] = &[51];

    fn read(&self, _: &Context<'_>) -> Result<Option<Ah>, Refused> {
        self.0.read_range().map(|spi| Some(Ah { spi }))
    }

    fn write(value: &Ah, _: &Context<'_>) -> Option<Self> {
        Some(Self(Esp0::write_range(&value.spi)))
    }
}

impl Wire for Ah60 {
    type Value = Ah6;
    const NAME: &'static str = "ah";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Ah6>, Refused> {
        if self.inverted & !(INVERTED | NOT_LENGTH) != 0 {
            return Err(Refused("an unknown inversion"));
        }
        let range = Range {
            low: self.low.get(),
            high: self.high.get(),
        };
        let not_length = self.inverted & NOT_LENGTH != 0;
        let tests_length = not_length || self.length != 0;
        Ok(Some(Ah6 {
            spi: test(self.inverted & INVERTED != 0, range),
            length: tests_length.then(|| test(not_length, self.length.get())),
            reserved: self.reserved != 0,
        }))
    }

    fn write(value: &Ah6, _: &Context<'_>) -> Option<Self> {
        let Range { low, high } = value.spi.value.value;
        Some(Self {
            low: low.into(),
            high: high.into(),
            length: value.length.as_ref().map_or(0, |it| it.value.value).into(),
            reserved: value.reserved.into(),
            inverted: flag(value.spi.negated, INVERTED) | inversion(&value.length, NOT_LENGTH),
            padding: [0; 2],
        })
    }
}
