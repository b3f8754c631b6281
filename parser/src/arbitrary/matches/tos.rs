//! `-m tos`

use proptest::prelude::*;

use crate::arbitrary::values::negatable;
use crate::matches::tos::Tos;
use crate::tos::TosMask;

pub(super) fn tos() -> impl Strategy<Value = Tos> {
    let tos = (any::<u8>(), any::<u8>()).prop_map(|(value, mask)| TosMask { value, mask });
    negatable(tos).prop_map(|tos| Tos { tos })
}
