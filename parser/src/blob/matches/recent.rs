//! `struct xt_recent_mtinfo_v1` (netfilter/xt_recent.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::blob::layout::{
    InetAddress, read_address, tidy_mask, until_nul, with_nul, write_address,
};
use crate::matches::recent::{Check, Recent, Side};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Recent1 {
    seconds: U32,
    hit_count: U32,
    flags: u8,
    inverted: u8,
    name: [u8; 200],
    side: u8,
    padding: u8,
    mask: InetAddress,
}

/// `XT_RECENT_CHECK` and so on; one of these is set.
const CHECKS: [(u8, Check); 4] = [
    (1 << 0, Check::Rcheck),
    (1 << 1, Check::Set),
    (1 << 2, Check::Update),
    (1 << 3, Check::Remove),
];
/// All of these.
const ANY_CHECK: u8 = 0x0f;
/// `XT_RECENT_TTL`
const TTL: u8 = 1 << 4;
/// `XT_RECENT_REAP`
const REAP: u8 = 1 << 5;
/// `XT_RECENT_SOURCE`
const SOURCE: u8 = 0;
/// `XT_RECENT_DEST`
const DESTINATION: u8 = 1;

impl Wire for Recent1 {
    type Value = Recent;
    const NAME: &'static str = "recent";
    const REVISION: u8 = 1;

    fn read(&self, context: &Context<'_>) -> Result<Option<Recent>, Refused> {
        let row = CHECKS.iter().find(|row| row.0 == self.flags & ANY_CHECK);
        let Some(&(_, check)) = row else {
            return Err(Refused("not just one check"));
        };
        if self.flags & !(ANY_CHECK | TTL | REAP) != 0 {
            return Err(Refused("an unknown flag"));
        }
        let has_limits = self.seconds != 0 || self.hit_count != 0;
        let has_options = has_limits || self.flags & (TTL | REAP) != 0;
        if matches!(check, Check::Set | Check::Remove) && has_options {
            return Err(Refused("limits where nothing is compared"));
        }
        if self.flags & REAP != 0 && self.seconds == 0 {
            return Err(Refused("purging without a time"));
        }
        let name = until_nul(&self.name).filter(|name| !name.is_empty());
        let name = name.ok_or(Refused("a name without an end"))?;
        let hit_count = u16::try_from(self.hit_count.get());
        let hit_count = hit_count.map_err(|_| Refused("too many hits"))?;
        let side = match self.side {
            SOURCE => Side::Source,
            DESTINATION => Side::Destination,
            _ => return Ok(None),
        };
        Ok(Some(Recent {
            check: test(self.inverted != 0, check),
            seconds: (self.seconds != 0).then(|| self.seconds.get()),
            reap: self.flags & REAP != 0,
            hit_count: (hit_count != 0).then_some(hit_count),
            ttl: self.flags & TTL != 0,
            name: name.into(),
            mask: read_address(context.family, &self.mask),
            side,
        }))
    }

    fn write(value: &Recent, _: &Context<'_>) -> Option<Self> {
        // libxt_recent copies the name over the default one, and what is longer of that stays.
        let mut name: [u8; 200] = with_nul(b"DEFAULT")?;
        let end = value.name.len();
        name.get_mut(..end)?.copy_from_slice(&value.name);
        *name.get_mut(end)? = 0;
        let row = CHECKS.iter().find(|row| row.1 == value.check.value.value)?;
        Some(Self {
            seconds: value.seconds.unwrap_or_default().into(),
            hit_count: u32::from(value.hit_count.unwrap_or_default()).into(),
            flags: row.0 | flag(value.ttl, TTL) | flag(value.reap, REAP),
            inverted: value.check.negated.into(),
            name,
            side: match value.side {
                Side::Source => SOURCE,
                Side::Destination => DESTINATION,
            },
            padding: 0,
            mask: write_address(value.mask),
        })
    }

    fn tidied(mut self, context: &Context<'_>) -> Self {
        tidy_mask(context.family, &mut self.mask);
        self
    }
}
