//! `-m length`

use proptest::prelude::*;

use crate::range::Range;

pub(super) fn length() -> impl Strategy<Value = Range<u16>> {
    any::<[u16; 2]>().prop_map(|[low, high]| Range { low, high })
}
