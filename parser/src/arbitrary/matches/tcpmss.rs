//! `-m tcpmss`

use proptest::prelude::*;

use crate::arbitrary::values::{negatable, port_range};
use crate::matches::tcpmss::Tcpmss;

pub(super) fn tcpmss() -> impl Strategy<Value = Tcpmss> {
    negatable(port_range().prop_map(|range| range.low..=range.high)).prop_map(|mss| Tcpmss { mss })
}
