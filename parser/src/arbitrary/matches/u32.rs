//! `-m u32`

use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::values::negatable;
use crate::matches::u32::{Step, Test, U32};

/// Few tests, as a word of a rule has at most 1023 bytes.
pub(super) fn u32_tests() -> impl Strategy<Value = U32> {
    let step = prop_oneof![
        any::<u32>().prop_map(Step::And),
        (0..32_u32).prop_map(Step::ShiftLeft),
        (0..32_u32).prop_map(Step::ShiftRight),
        any::<u32>().prop_map(Step::Move),
    ];
    let range = (any::<u32>(), any::<u32>()).prop_map(|(low, high)| low..=high);
    let test = (any::<u32>(), vec(step, 0..=9), vec(range, 1..=4));
    let test = test.prop_map(|(offset, steps, values)| Test {
        offset,
        steps,
        values,
    });
    negatable(vec(test, 1..=3)).prop_map(|tests| U32 { tests })
}
