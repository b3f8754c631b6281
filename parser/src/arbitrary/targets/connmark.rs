//! `-j CONNMARK`

use proptest::prelude::*;

use crate::arbitrary::targets::mark::mark_change;
use crate::targets;
use crate::targets::Target;
use crate::targets::connmark::{Masks, Operation, Shift};

pub(in crate::arbitrary) fn connmark() -> impl Strategy<Value = Target> {
    let masks =
        || any::<(u32, u32)>().prop_map(|(packet, connection)| Masks { packet, connection });
    let operation = prop_oneof![
        mark_change().prop_map(Operation::Set),
        masks().prop_map(Operation::Save),
        masks().prop_map(Operation::Restore),
    ];
    let shift = prop_oneof![
        Just(Shift::Left(0)),
        (1..32_u8).prop_map(Shift::Left),
        (1..32_u8).prop_map(Shift::Right),
    ];
    (operation, shift).prop_map(|(operation, shift)| {
        Target::Connmark(targets::connmark::Connmark { operation, shift })
    })
}
