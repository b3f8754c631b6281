//! `-m string`

use bstr::BString;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::values::negatable;
use crate::matches::string::{Algorithm, StringMatch};

pub(super) fn string() -> impl Strategy<Value = StringMatch> {
    let byte = prop_oneof![8 => 0x20..0x7f_u8, 1 => any::<u8>()];
    let pattern = negatable(vec(byte, 1..=128).prop_map(BString::from));
    let algorithm = select(vec![Algorithm::BoyerMoore, Algorithm::KnuthPrattMorris]);
    let ends = (any::<u16>(), any::<u16>());
    (pattern, algorithm, ends, any::<bool>()).prop_map(
        |(pattern, algorithm, (a, b), ignore_case)| StringMatch {
            pattern,
            algorithm,
            from: a.min(b),
            to: a.max(b),
            ignore_case,
        },
    )
}
