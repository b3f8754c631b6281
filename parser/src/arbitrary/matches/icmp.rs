//! `-m icmp` and `-m icmp6`

use proptest::option::of;
use proptest::prelude::*;

use crate::matches::icmp::TypeCode;

pub(super) fn type_code(greatest: u8) -> impl Strategy<Value = TypeCode> {
    (0..=greatest, of(any::<u8>())).prop_map(|(kind, code)| TypeCode {
        kind,
        code_low: code.unwrap_or(0),
        code_high: code.unwrap_or(255),
    })
}
