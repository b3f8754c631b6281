//! `struct xt_iprange_mtinfo` (netfilter/xt_iprange.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::blob::layout::{InetAddress, read_v4, write_address};
use crate::matches::iprange::{AddressRange, IpRange};
use crate::ruleset::{Family, Negatable};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct IpRange1 {
    source: [InetAddress; 2],
    destination: [InetAddress; 2],
    flags: u8,
}

/// `IPRANGE_SRC`
const SOURCE: u8 = 1 << 0;
/// `IPRANGE_DST`
const DESTINATION: u8 = 1 << 1;
/// `IPRANGE_SRC_INV`
const NOT_SOURCE: u8 = 1 << 4;
/// `IPRANGE_DST_INV`
const NOT_DESTINATION: u8 = 1 << 5;

impl Wire for IpRange1 {
    type Value = IpRange;
    const NAME: &'static str = "iprange";
    const REVISION: u8 = 1;

    fn read(&self, context: &Context<'_>) -> Result<Option<IpRange>, Refused> {
        let range = |range: &[InetAddress; 2], bit, inverted| {
            let has = |bit| self.flags & bit != 0;
            has(bit).then(|| test(has(inverted), read_range(range, context.family)))
        };
        Ok(Some(IpRange {
            source: range(&self.source, SOURCE, NOT_SOURCE),
            destination: range(&self.destination, DESTINATION, NOT_DESTINATION),
        }))
    }

    fn write(value: &IpRange, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            source: write_range(&value.source),
            destination: write_range(&value.destination),
            flags: flag(value.source.is_some(), SOURCE)
                | flag(value.destination.is_some(), DESTINATION)
                | inversion(&value.source, NOT_SOURCE)
                | inversion(&value.destination, NOT_DESTINATION),
        })
    }
}

fn read_range([low, high]: &[InetAddress; 2], family: Family) -> AddressRange {
    match family {
        Family::V4 => AddressRange::V4 {
            low: read_v4(low),
            high: read_v4(high),
        },
        Family::V6 => AddressRange::V6 {
            low: (*low).into(),
            high: (*high).into(),
        },
    }
}

fn write_range(range: &Option<Negatable<AddressRange>>) -> [InetAddress; 2] {
    match range.as_ref().map(|range| range.value.value) {
        None => Default::default(),
        Some(AddressRange::V4 { low, high }) => {
            [write_address(low.into()), write_address(high.into())]
        }
        Some(AddressRange::V6 { low, high }) => {
            [write_address(low.into()), write_address(high.into())]
        }
    }
}
