//! `struct xt_u32` (netfilter/xt_u32.h).

use std::ops::RangeInclusive;

use zerocopy::little_endian::U32 as Number;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::u32::{Step, Test, U32};

/// `XT_U32_MAXSIZE` and one more.
const SLOTS: usize = 11;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct U320 {
    tests: [WireTest; SLOTS],
    count: u8,
    inverted: u8,
    padding: [u8; 2],
}

/// `struct xt_u32_test`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct WireTest {
    location: [Location; SLOTS],
    values: [[Number; 2]; SLOTS],
    locations: u8,
    ranges: u8,
    padding: [u8; 2],
}

/// `struct xt_u32_location_element`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Location {
    number: Number,
    /// What comes before the number; 0 before the first.
    operator: u8,
    padding: [u8; 3],
}

/// `XT_U32_AND`
const AND: u8 = 0;
/// `XT_U32_LEFTSH`
const SHIFT_LEFT: u8 = 1;
/// `XT_U32_RIGHTSH`
const SHIFT_RIGHT: u8 = 2;
/// `XT_U32_AT`
const MOVE: u8 = 3;

impl Wire for U320 {
    type Value = U32;
    const NAME: &'static str = "u32";

    fn read(&self, _: &Context<'_>) -> Result<Option<U32>, Refused> {
        let tests = self.tests.get(..usize::from(self.count));
        let tests = tests.ok_or(Refused("too many tests"))?;
        let tests = tests.iter().map(WireTest::read);
        let tests = tests.collect::<Result<Option<Vec<Test>>, Refused>>()?;
        Ok(tests.filter(|tests| !tests.is_empty()).map(|tests| U32 {
            tests: test(self.inverted != 0, tests),
        }))
    }

    fn write(value: &U32, _: &Context<'_>) -> Option<Self> {
        let mut wire = Self {
            count: u8::try_from(value.tests.value.value.len()).ok()?,
            inverted: value.tests.negated.into(),
            ..Self::new_zeroed()
        };
        for (at, test) in value.tests.value.value.iter().enumerate() {
            *wire.tests.get_mut(at)? = WireTest::write(test)?;
        }
        Some(wire)
    }
}

impl WireTest {
    fn read(&self) -> Result<Option<Test>, Refused> {
        let location = self.location.get(..usize::from(self.locations));
        let location = location.ok_or(Refused("too many numbers"))?;
        let values = self.values.get(..usize::from(self.ranges));
        let values = values.ok_or(Refused("too many values"))?;
        let Some((first, steps)) = location.split_first() else {
            return Ok(None);
        };
        let steps = steps
            .iter()
            .map(Location::read)
            .collect::<Option<Vec<Step>>>();
        let range = |[low, high]: &[Number; 2]| low.get()..=high.get();
        let values: Vec<RangeInclusive<u32>> = values.iter().map(range).collect();
        Ok(steps.filter(|_| !values.is_empty()).map(|steps| Test {
            offset: first.number.get(),
            steps,
            values,
        }))
    }

    fn write(test: &Test) -> Option<Self> {
        let mut wire = Self {
            locations: u8::try_from(test.steps.len() + 1).ok()?,
            ranges: u8::try_from(test.values.len()).ok()?,
            ..Self::new_zeroed()
        };
        let (first, rest) = wire.location.split_first_mut()?;
        first.number = test.offset.into();
        for (at, &step) in test.steps.iter().enumerate() {
            *rest.get_mut(at)? = Location::write(step);
        }
        for (at, range) in test.values.iter().enumerate() {
            *wire.values.get_mut(at)? = [(*range.start()).into(), (*range.end()).into()];
        }
        Some(wire)
    }
}

impl Location {
    fn read(&self) -> Option<Step> {
        let number = self.number.get();
        Some(match self.operator {
            AND => Step::And(number),
            SHIFT_LEFT if number < 32 => Step::ShiftLeft(number),
            SHIFT_RIGHT if number < 32 => Step::ShiftRight(number),
            MOVE => Step::Move(number),
            _ => return None,
        })
    }

    fn write(step: Step) -> Self {
        let (operator, number) = match step {
            Step::And(number) => (AND, number),
            Step::ShiftLeft(number) => (SHIFT_LEFT, number),
            Step::ShiftRight(number) => (SHIFT_RIGHT, number),
            Step::Move(number) => (MOVE, number),
        };
        Self {
            number: number.into(),
            operator,
            padding: [0; 3],
        }
    }
}
