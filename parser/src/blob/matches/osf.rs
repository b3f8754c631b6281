//! `struct nf_osf_info` (netfilter/nfnetlink_osf.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::blob::layout::{until_nul, with_nul};
use crate::matches::osf::{Osf, OsfLog, Ttl};
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Osf0 {
    genre: [u8; 32],
    /// Of the genre.
    length: U32,
    flags: U32,
    log: U32,
    ttl: U32,
}

/// `NF_OSF_TTL`
const TTL: u32 = 1 << 1;
/// `NF_OSF_LOG`
const LOG: u32 = 1 << 2;
/// `NF_OSF_INVERT`
const INVERTED: u32 = 1 << 3;

/// `NF_OSF_TTL_TRUE` and so on, by their numbers.
const TTLS: [Ttl; 3] = [Ttl::Equal, Ttl::NotGreater, Ttl::Any];
/// `NF_OSF_LOGLEVEL_ALL` and so on, by their numbers.
const LOGS: [OsfLog; 3] = [OsfLog::All, OsfLog::First, OsfLog::Known];

impl Wire for Osf0 {
    type Value = Osf;
    const NAME: &'static str = "osf";
    const FAMILY: Option<Family> = Some(Family::V4);
    const PROTOCOLS: &'static [u8] = &[6];

    fn read(&self, _: &Context<'_>) -> Result<Option<Osf>, Refused> {
        let has = |flag| self.flags.get() & flag != 0;
        let genre = until_nul(&self.genre);
        Ok(genre.map(|genre| Osf {
            genre: test(has(INVERTED), genre.into()),
            ttl: level(self.ttl, TTLS).filter(|_| has(TTL)),
            log: level(self.log, LOGS).filter(|_| has(LOG)),
        }))
    }

    fn write(value: &Osf, _: &Context<'_>) -> Option<Self> {
        let genre = &value.genre.value.value;
        Some(Self {
            genre: with_nul(genre)?,
            length: u32::try_from(genre.len()).ok()?.into(),
            flags: (flag(value.ttl.is_some(), TTL)
                | flag(value.log.is_some(), LOG)
                | flag(value.genre.negated, INVERTED))
            .into(),
            log: value.log.map_or(0, |log| log as u32).into(),
            ttl: value.ttl.map_or(0, |ttl| ttl as u32).into(),
        })
    }
}

fn level<T: Copy>(number: U32, levels: [T; 3]) -> Option<T> {
    let at = usize::try_from(number.get()).ok()?;
    levels.get(at).copied()
}
