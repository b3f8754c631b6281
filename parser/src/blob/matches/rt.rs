//! `struct ip6t_rt` (netfilter_ipv6/ip6t_rt.h).

use std::net::Ipv6Addr;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::rt::{Addresses, Rt};
use crate::range::Range;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Rt0 {
    kind: U32,
    segments_left: [U32; 2],
    length: U32,
    tests: u8,
    inverted: u8,
    padding: [u8; 2],
    addresses: [[u8; 16]; 16],
    count: u8,
    end: [u8; 3],
}

/// `IP6T_RT_TYP`
const KIND: u8 = 0x01;
/// `IP6T_RT_SGS`
const SEGMENTS: u8 = 0x02;
/// `IP6T_RT_LEN`
const LENGTH: u8 = 0x04;
/// `IP6T_RT_RES`
const RESERVED: u8 = 0x08;
/// `IP6T_RT_FST`
const ADDRESSES: u8 = 0x10;
/// `IP6T_RT_FST_NSTRICT`
const NOT_STRICT: u8 = 0x20;

impl Wire for Rt0 {
    type Value = Rt;
    const NAME: &'static str = "rt";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Rt>, Refused> {
        if self.inverted & !(KIND | SEGMENTS | LENGTH) != 0 {
            return Err(Refused("an unknown inversion"));
        }
        let has = |bit| self.tests & bit != 0;
        let is_inverted = |bit| self.inverted & bit != 0;
        let is_type_0 = has(KIND) && !is_inverted(KIND) && self.kind == 0;
        if has(RESERVED | ADDRESSES | NOT_STRICT) && !is_type_0 {
            return Err(Refused("a test that needs type 0"));
        }
        let Some(list) = self.addresses.get(..usize::from(self.count)) else {
            return Ok(None);
        };
        let [low, high] = self.segments_left.map(|it| it.get());
        Ok(Some(Rt {
            kind: has(KIND).then(|| test(is_inverted(KIND), self.kind.get())),
            segments_left: test(is_inverted(SEGMENTS), Range { low, high }),
            length: has(LENGTH).then(|| test(is_inverted(LENGTH), self.length.get())),
            reserved: has(RESERVED),
            addresses: has(ADDRESSES).then(|| Addresses {
                list: list.iter().map(|&it| Ipv6Addr::from(it)).collect(),
                strict: !has(NOT_STRICT),
            }),
        }))
    }

    fn write(value: &Rt, _: &Context<'_>) -> Option<Self> {
        let Range { low, high } = value.segments_left.value.value;
        let tests_segments =
            value.segments_left.negated || !value.segments_left.value.value.is_everything();
        let is_loose = value.addresses.as_ref().is_some_and(|it| !it.strict);
        let list = value.addresses.as_ref().map_or(&[][..], |it| &it.list);
        let mut addresses = [[0; 16]; 16];
        for (at, address) in list.iter().enumerate() {
            *addresses.get_mut(at)? = address.octets();
        }
        Some(Self {
            kind: value.kind.as_ref().map_or(0, |it| it.value.value).into(),
            segments_left: [low.into(), high.into()],
            length: value.length.as_ref().map_or(0, |it| it.value.value).into(),
            tests: flag(value.kind.is_some(), KIND)
                | flag(tests_segments, SEGMENTS)
                | flag(value.length.is_some(), LENGTH)
                | flag(value.reserved, RESERVED)
                | flag(value.addresses.is_some(), ADDRESSES)
                | flag(is_loose, NOT_STRICT),
            inverted: inversion(&value.kind, KIND)
                | flag(value.segments_left.negated, SEGMENTS)
                | inversion(&value.length, LENGTH),
            padding: [0; 2],
            addresses,
            count: u8::try_from(list.len()).ok()?,
            end: [0; 3],
        })
    }
}
