//! `struct ip6t_opts` (netfilter_ipv6/ip6t_opts.h) of the matches `dst` and `hbh`.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::header_options::{HeaderOption, HeaderTest};
use crate::matches::dst::Dst;
use crate::matches::hbh::Hbh;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Dst0 {
    length: U32,
    tests: u8,
    inverted: u8,
    /// The kind in the upper byte and the length in the lower one.
    options: [U16; 16],
    count: u8,
    padding: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Hbh0(Dst0);

/// `IP6T_OPTS_LEN`
const LENGTH: u8 = 0x01;
/// `IP6T_OPTS_OPTS`
const OPTIONS: u8 = 0x02;
/// `IP6T_OPTS_NSTRICT`
const NOT_STRICT: u8 = 0x04;
/// The length of an option that may have any.
const ANY_LENGTH: u8 = 0xff;

impl Dst0 {
    fn read_test(&self) -> Result<Option<HeaderTest>, Refused> {
        if self.inverted & !LENGTH != 0 {
            return Err(Refused("an unknown inversion"));
        }
        if self.tests & NOT_STRICT != 0 {
            return Err(Refused("a test that is not strict"));
        }
        let Some(options) = self.options.get(..usize::from(self.count)) else {
            return Ok(None);
        };
        let options = options.iter().map(|option| {
            let [kind, length] = option.get().to_be_bytes();
            HeaderOption {
                kind,
                length: (length != ANY_LENGTH).then_some(length),
            }
        });
        let is_inverted = self.inverted & LENGTH != 0;
        let length = (self.tests & LENGTH != 0).then(|| test(is_inverted, self.length.get()));
        Ok(Some(HeaderTest {
            length,
            options: (self.tests & OPTIONS != 0).then(|| options.collect()),
        }))
    }

    fn write_test(value: &HeaderTest) -> Option<Self> {
        let list = value.options.as_deref().unwrap_or_default();
        let mut options = [U16::new(0); 16];
        for (at, option) in list.iter().enumerate() {
            let length = option.length.unwrap_or(ANY_LENGTH);
            *options.get_mut(at)? = u16::from_be_bytes([option.kind, length]).into();
        }
        Some(Self {
            length: value.length.as_ref().map_or(0, |it| it.value.value).into(),
            tests: flag(value.length.is_some(), LENGTH) | flag(value.options.is_some(), OPTIONS),
            inverted: inversion(&value.length, LENGTH),
            options,
            count: u8::try_from(list.len()).ok()?,
            padding: 0,
        })
    }
}

impl Wire for Dst0 {
    type Value = Dst;
    const NAME: &'static str = "dst";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Dst>, Refused> {
        self.read_test().map(|test| test.map(Dst))
    }

    fn write(value: &Dst, _: &Context<'_>) -> Option<Self> {
        Self::write_test(&value.0)
    }
}

impl Wire for Hbh0 {
    type Value = Hbh;
    const NAME: &'static str = "hbh";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Hbh>, Refused> {
        self.0.read_test().map(|test| test.map(Hbh))
    }

    fn write(value: &Hbh, _: &Context<'_>) -> Option<Self> {
        Dst0::write_test(&value.0).map(Self)
    }
}
