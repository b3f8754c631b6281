//! `-m tcp`

use proptest::option::{of, weighted};
use proptest::prelude::*;

use crate::arbitrary::values::{negatable, port_test};
use crate::matches::tcp::{Flags, Tcp};

pub(super) fn tcp() -> impl Strategy<Value = Tcp> {
    let flags = (1..0x40_u8, 0..0x40_u8).prop_map(|(mask, set)| Flags { mask, set });
    (
        port_test(),
        port_test(),
        of(negatable(flags)),
        weighted(0.1, negatable(1..=255_u8)),
    )
        .prop_map(|(source_ports, destination_ports, flags, option)| Tcp {
            source_ports,
            destination_ports,
            flags,
            option,
        })
}
