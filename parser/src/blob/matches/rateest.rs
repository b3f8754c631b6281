//! `struct xt_rateest_match_info` (netfilter/xt_rateest.h). The kernel's pointers are zero on the wire.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::blob::layout::{InterfaceName, until_nul, with_nul};
use crate::matches::rateest::{Comparison, Limits, RateEst};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Rateest0 {
    estimator: InterfaceName,
    other: InterfaceName,
    flags: U16,
    mode: U16,
    first_bytes: U32,
    first_packets: U32,
    second_bytes: U32,
    second_packets: U32,
    padding: [u8; 4],
    kernel: [u8; 16],
}

/// `XT_RATEEST_MATCH_INVERT`
const INVERTED: u16 = 1 << 0;
/// `XT_RATEEST_MATCH_ABS`
const ABSOLUTE: u16 = 1 << 1;
/// `XT_RATEEST_MATCH_REL`
const RELATIVE: u16 = 1 << 2;
/// `XT_RATEEST_MATCH_DELTA`
const DELTA: u16 = 1 << 3;
/// `XT_RATEEST_MATCH_BPS`
const BYTES: u16 = 1 << 4;
/// `XT_RATEEST_MATCH_PPS`
const PACKETS: u16 = 1 << 5;

/// `XT_RATEEST_MATCH_EQ` and so on.
const MODES: [(u16, Comparison); 3] = [
    (1, Comparison::Equal),
    (2, Comparison::LessThan),
    (3, Comparison::GreaterThan),
];

impl Wire for Rateest0 {
    type Value = RateEst;
    const NAME: &'static str = "rateest";

    fn read(&self, _: &Context<'_>) -> Result<Option<RateEst>, Refused> {
        let has = |flag| self.flags.get() & flag != 0;
        if has(ABSOLUTE) == has(RELATIVE) {
            return Err(Refused("not just one thing to compare with"));
        }
        if !has(BYTES | PACKETS) {
            return Err(Refused("no rate"));
        }
        let mode = MODES.iter().find(|row| row.0 == self.mode.get());
        let (_, comparison) = mode.ok_or(Refused("an unknown comparison"))?;
        let endless = || Refused("a name without an end");
        let estimator = until_nul(&self.estimator).ok_or_else(endless)?;
        let other = until_nul(&self.other).ok_or_else(endless)?;
        let limits = |first: U32, second: U32| {
            let [first, second] = [first, second].map(|it| it.get());
            Limits { first, second }.used(has(DELTA), has(RELATIVE))
        };
        Ok(Some(RateEst {
            estimator: estimator.into(),
            other: has(RELATIVE).then(|| other.into()),
            comparison: test(has(INVERTED), *comparison),
            delta: has(DELTA),
            bytes: has(BYTES).then(|| limits(self.first_bytes, self.second_bytes)),
            packets: has(PACKETS).then(|| limits(self.first_packets, self.second_packets)),
        }))
    }

    fn write(value: &RateEst, _: &Context<'_>) -> Option<Self> {
        let kind = match value.other {
            Some(_) => RELATIVE,
            None => ABSOLUTE,
        };
        let mode = MODES
            .iter()
            .find(|row| row.1 == value.comparison.value.value)?;
        let first = |limits: Option<Limits>| limits.map_or(0, |it| it.first).into();
        let second = |limits: Option<Limits>| limits.map_or(0, |it| it.second).into();
        Some(Self {
            estimator: with_nul(&value.estimator)?,
            other: match &value.other {
                Some(other) => with_nul(other)?,
                None => InterfaceName::default(),
            },
            flags: (kind
                | flag(value.comparison.negated, INVERTED)
                | flag(value.delta, DELTA)
                | flag(value.bytes.is_some(), BYTES)
                | flag(value.packets.is_some(), PACKETS))
            .into(),
            mode: mode.0.into(),
            first_bytes: first(value.bytes),
            first_packets: first(value.packets),
            second_bytes: second(value.bytes),
            second_packets: second(value.packets),
            padding: [0; 4],
            kernel: [0; 16],
        })
    }
}
