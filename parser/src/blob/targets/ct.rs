//! `struct xt_ct_target_info_v1` (netfilter/xt_CT.h), which holds `-j NOTRACK`, too. The kernel's
//! pointer is zero on the wire.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::blob::layout::{until_nul, with_nul};
use crate::targets::ct::{Ct, Direction, Event, Zone, ZoneId};
use crate::targets::notrack::Notrack;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ct2 {
    flags: U16,
    zone: U16,
    events: U32,
    expectation_events: U32,
    helper: [u8; 16],
    timeout: [u8; 32],
    kernel: [u8; 12],
}

/// The same struct as `-j NOTRACK` fills it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Notrack2(Ct2);

/// `XT_CT_NOTRACK`
const NOTRACK: u16 = 1 << 0;
/// `XT_CT_NOTRACK_ALIAS`: written as `-j NOTRACK`.
const NOTRACK_ALIAS: u16 = 1 << 1;
/// `XT_CT_ZONE_DIR_ORIG`
const ZONE_ORIGINAL: u16 = 1 << 2;
/// `XT_CT_ZONE_DIR_REPL`
const ZONE_REPLY: u16 = 1 << 3;
/// `XT_CT_ZONE_MARK`
const ZONE_MARK: u16 = 1 << 4;
/// All flags.
const FLAGS: u16 = NOTRACK | NOTRACK_ALIAS | ZONE_ORIGINAL | ZONE_REPLY | ZONE_MARK;

/// The events by their bit (`enum ip_conntrack_events`).
const EVENTS: [(u32, Event); 10] = [
    (1 << 0, Event::New),
    (1 << 1, Event::Related),
    (1 << 2, Event::Destroy),
    (1 << 3, Event::Reply),
    (1 << 4, Event::Assured),
    (1 << 5, Event::Protoinfo),
    (1 << 6, Event::Helper),
    (1 << 7, Event::Mark),
    (1 << 8, Event::Natseqinfo),
    (1 << 9, Event::Secmark),
];
/// `IPEXP_NEW`
const EXPECTATION_NEW: u32 = 1 << 0;

impl Wire for Ct2 {
    type Value = Ct;
    const NAME: &'static str = "CT";
    const REVISION: u8 = 2;

    fn read(&self, _: &Context<'_>) -> Result<Option<Ct>, Refused> {
        let flags = self.flags.get();
        let has = |flag| flags & flag != 0;
        if flags & !FLAGS != 0 {
            return Err(Refused("an unknown flag"));
        }
        let helper = until_nul(&self.helper).ok_or(Refused("a helper without an end"))?;
        let timeout = until_nul(&self.timeout).ok_or(Refused("a policy without an end"))?;
        let id = match has(ZONE_MARK) {
            true => ZoneId::Mark,
            false => ZoneId::Number(self.zone.get()),
        };
        let direction = match (has(ZONE_ORIGINAL), has(ZONE_REPLY)) {
            (false, false) => None,
            (true, false) => Some(Direction::Original),
            (false, true) => Some(Direction::Reply),
            (true, true) => return Ok(None),
        };
        let has_zone = id != ZoneId::Number(0) || direction.is_some();
        let events = EVENTS.iter().filter(|row| self.events.get() & row.0 != 0);
        Ok(Some(Ct {
            notrack: has(NOTRACK),
            helper: helper.into(),
            timeout: timeout.into(),
            events: events.map(|row| row.1).collect(),
            expectation_events: self.expectation_events.get() & EXPECTATION_NEW != 0,
            zone: has_zone.then_some(Zone { id, direction }),
        }))
    }

    fn write(value: &Ct, _: &Context<'_>) -> Option<Self> {
        let direction = value.zone.as_ref().and_then(|zone| zone.direction);
        let (number, is_mark) = match value.zone.as_ref().map(|zone| zone.id) {
            None => (0, false),
            Some(ZoneId::Number(number)) => (number, false),
            Some(ZoneId::Mark) => (0, true),
        };
        let events = EVENTS.iter().filter(|row| value.events.contains(&row.1));
        Some(Self {
            flags: (flag(value.notrack, NOTRACK)
                | flag(direction == Some(Direction::Original), ZONE_ORIGINAL)
                | flag(direction == Some(Direction::Reply), ZONE_REPLY)
                | flag(is_mark, ZONE_MARK))
            .into(),
            zone: number.into(),
            events: U32::new(events.map(|row| row.0).sum()),
            expectation_events: flag(value.expectation_events, EXPECTATION_NEW).into(),
            helper: with_nul(&value.helper)?,
            timeout: with_nul(&value.timeout)?,
            kernel: [0; 12],
        })
    }
}

impl Wire for Notrack2 {
    type Value = Notrack;
    const NAME: &'static str = Ct2::NAME;
    const REVISION: u8 = Ct2::REVISION;

    fn read(&self, _: &Context<'_>) -> Result<Option<Notrack>, Refused> {
        Ok(Some(Notrack))
    }

    fn write(_: &Notrack, _: &Context<'_>) -> Option<Self> {
        Some(Self(Ct2 {
            flags: (NOTRACK | NOTRACK_ALIAS).into(),
            ..Ct2::new_zeroed()
        }))
    }
}
