//! `-m statistic`

use proptest::prelude::*;

use crate::arbitrary::values::negatable;
use crate::matches::statistic::Statistic;

pub(super) fn statistic() -> impl Strategy<Value = Statistic> {
    let nth = (negatable(1..=u32::MAX), any::<u32>()).prop_map(|(every, packet)| {
        let packet = packet % every.value.value;
        Statistic::Nth { every, packet }
    });
    prop_oneof![
        negatable(0..=0x8000_0000_u32).prop_map(|probability| Statistic::Random { probability }),
        nth,
    ]
}
