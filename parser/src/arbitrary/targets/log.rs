//! `-j LOG`

use bstr::BString;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::values::text_byte;
use crate::targets::log::Log;

pub(in crate::arbitrary) fn log() -> impl Strategy<Value = Log> {
    (0..=7_u8, vec(text_byte(), 0..=29), any::<[bool; 5]>()).prop_map(
        |(level, prefix, switches)| {
            let [tcp_sequence, tcp_options, ip_options, uid, mac_decode] = switches;
            Log {
                level,
                prefix: BString::from(prefix),
                tcp_sequence,
                tcp_options,
                ip_options,
                uid,
                mac_decode,
            }
        },
    )
}
