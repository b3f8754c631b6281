//! `-m udp`

use proptest::prelude::*;

use crate::arbitrary::values::port_test;
use crate::matches::udp::Udp;

pub(super) fn udp() -> impl Strategy<Value = Udp> {
    (port_test(), port_test()).prop_map(|(source_ports, destination_ports)| Udp {
        source_ports,
        destination_ports,
    })
}
