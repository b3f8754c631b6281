//! `struct xt_set_info_match_v4` (netfilter/xt_set.h).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::blob::sets::SetInfo;
use crate::matches::Comparison;
use crate::matches::set::Set;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Set4 {
    set: SetInfo,
    padding: [u8; 4],
    packets: Counter,
    bytes: Counter,
    flags: U32,
    end: [u8; 4],
}

/// `struct ip_set_counter_match` (netfilter/ipset/ip_set.h).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Counter {
    value: U64,
    operator: u8,
    padding: [u8; 7],
}

/// `IPSET_FLAG_SKIP_COUNTER_UPDATE`
const SKIP_COUNTERS: u32 = 1 << 3;
/// `IPSET_FLAG_SKIP_SUBCOUNTER_UPDATE`
const SKIP_SUBCOUNTERS: u32 = 1 << 4;
/// `IPSET_FLAG_RETURN_NOMATCH`
const RETURN_NOMATCH: u32 = 1 << 7;

impl Wire for Set4 {
    type Value = Set;
    const NAME: &'static str = "set";
    const REVISION: u8 = 4;

    fn read(&self, context: &Context<'_>) -> Result<Option<Set>, Refused> {
        let flags = self.flags.get();
        let lookup = self.set.read(context.sets)?;
        Ok(lookup.map(|lookup| Set {
            lookup: test(self.set.is_inverted(), lookup),
            return_nomatch: flags & RETURN_NOMATCH != 0,
            update_counters: flags & SKIP_COUNTERS == 0,
            update_subcounters: flags & SKIP_SUBCOUNTERS == 0,
            packets: self.packets.read(),
            bytes: self.bytes.read(),
        }))
    }

    fn write(value: &Set, context: &Context<'_>) -> Option<Self> {
        let flags = flag(value.return_nomatch, RETURN_NOMATCH)
            | flag(!value.update_counters, SKIP_COUNTERS)
            | flag(!value.update_subcounters, SKIP_SUBCOUNTERS);
        Some(Self {
            set: SetInfo::write(&value.lookup.value.value, context.sets)?
                .inverted(value.lookup.negated),
            padding: [0; 4],
            packets: Counter::write(value.packets),
            bytes: Counter::write(value.bytes),
            flags: flags.into(),
            end: [0; 4],
        })
    }
}

impl Counter {
    /// The comparison of `IPSET_COUNTER_EQ` and so on.
    fn read(self) -> Option<Comparison<u64>> {
        let value = self.value.get();
        match self.operator {
            1 => Some(Comparison::Equal(value)),
            2 => Some(Comparison::Unequal(value)),
            3 => Some(Comparison::Less(value)),
            4 => Some(Comparison::Greater(value)),
            _ => None,
        }
    }

    fn write(test: Option<Comparison<u64>>) -> Self {
        let (operator, value) = match test {
            None => (0, 0),
            Some(Comparison::Equal(value)) => (1, value),
            Some(Comparison::Unequal(value)) => (2, value),
            Some(Comparison::Less(value)) => (3, value),
            Some(Comparison::Greater(value)) => (4, value),
        };
        Self {
            value: value.into(),
            operator,
            padding: [0; 7],
        }
    }
}
