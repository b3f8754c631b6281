//! `-j MARK`

use proptest::prelude::*;

use crate::targets;
use crate::targets::Target;
use crate::targets::mark_change::MarkChange;

pub(in crate::arbitrary) fn mark_change() -> impl Strategy<Value = MarkChange> {
    any::<(u32, u32)>().prop_map(|(value, mask)| MarkChange { value, mask })
}

pub(in crate::arbitrary) fn mark() -> impl Strategy<Value = Target> {
    mark_change().prop_map(|change| Target::Mark(targets::mark::Mark { change }))
}
