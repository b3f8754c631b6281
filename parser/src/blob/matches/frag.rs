//! `struct ip6t_frag` (netfilter_ipv6/ip6t_frag.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::frag::{Frag, Place};
use crate::range::Range;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Frag0 {
    ids: [U32; 2],
    length: U32,
    tests: u8,
    inverted: u8,
    padding: [u8; 2],
}

/// `IP6T_FRAG_IDS`
const IDS: u8 = 0x01;
/// `IP6T_FRAG_LEN`
const LENGTH: u8 = 0x02;
/// `IP6T_FRAG_RES`
const RESERVED: u8 = 0x04;
/// `IP6T_FRAG_FST`
const FIRST: u8 = 0x08;
/// `IP6T_FRAG_MF`
const MORE: u8 = 0x10;
/// `IP6T_FRAG_NMF`
const LAST: u8 = 0x20;

impl Wire for Frag0 {
    type Value = Frag;
    const NAME: &'static str = "frag";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Frag>, Refused> {
        if self.inverted & !(IDS | LENGTH) != 0 {
            return Err(Refused("an unknown inversion"));
        }
        let has = |bit| self.tests & bit != 0;
        let [low, high] = self.ids.map(|it| it.get());
        let is_inverted = |bit| self.inverted & bit != 0;
        Ok(Some(Frag {
            id: test(is_inverted(IDS), Range { low, high }),
            length: has(LENGTH).then(|| test(is_inverted(LENGTH), self.length.get())),
            reserved: has(RESERVED),
            first: has(FIRST),
            place: match (has(MORE), has(LAST)) {
                (true, false) => Some(Place::More),
                (false, true) => Some(Place::Last),
                (false, false) => None,
                (true, true) => return Ok(None),
            },
        }))
    }

    fn write(value: &Frag, _: &Context<'_>) -> Option<Self> {
        let Range { low, high } = value.id.value.value;
        let tests_ids = value.id.negated || !value.id.value.value.is_everything();
        Some(Self {
            ids: [low.into(), high.into()],
            length: value.length.as_ref().map_or(0, |it| it.value.value).into(),
            tests: flag(tests_ids, IDS)
                | flag(value.length.is_some(), LENGTH)
                | flag(value.reserved, RESERVED)
                | flag(value.first, FIRST)
                | flag(value.place == Some(Place::More), MORE)
                | flag(value.place == Some(Place::Last), LAST),
            inverted: flag(value.id.negated, IDS) | inversion(&value.length, LENGTH),
            padding: [0; 2],
        })
    }
}
