//! `struct ip6t_hl_info` (netfilter_ipv6/ip6t_hl.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::hl::Hl;
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Hl0 {
    mode: u8,
    hop_limit: u8,
}

/// `IP6T_HL_EQ`
const EQUAL: u8 = 0;
/// `IP6T_HL_NE`
const UNEQUAL: u8 = 1;
/// `IP6T_HL_LT`
const LESS: u8 = 2;
/// `IP6T_HL_GT`
const GREATER: u8 = 3;

impl Wire for Hl0 {
    type Value = Hl;
    const NAME: &'static str = "hl";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Hl>, Refused> {
        Ok(match self.mode {
            EQUAL => Some(Hl::Equal(test(false, self.hop_limit))),
            UNEQUAL => Some(Hl::Equal(test(true, self.hop_limit))),
            LESS => Some(Hl::LessThan(self.hop_limit)),
            GREATER => Some(Hl::GreaterThan(self.hop_limit)),
            _ => None,
        })
    }

    fn write(value: &Hl, _: &Context<'_>) -> Option<Self> {
        let (mode, hop_limit) = match value {
            Hl::Equal(number) if number.negated => (UNEQUAL, number.value.value),
            Hl::Equal(number) => (EQUAL, number.value.value),
            Hl::LessThan(number) => (LESS, *number),
            Hl::GreaterThan(number) => (GREATER, *number),
        };
        Some(Self { mode, hop_limit })
    }
}
