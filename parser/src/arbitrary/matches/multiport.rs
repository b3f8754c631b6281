//! `-m multiport`

use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::values::port_range;
use crate::matches::PortRange;

/// At most seven ranges, which take fourteen of the fifteen slots.
pub(super) fn port_list() -> impl Strategy<Value = Vec<PortRange>> {
    vec(port_range(), 1..=7)
}
