//! `struct xt_connbytes_info` (netfilter/xt_connbytes.h). An inverted range runs backwards.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::connbytes::{Amount, Connbytes, Direction, Mode};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Connbytes0 {
    from: U64,
    to: U64,
    mode: u8,
    direction: u8,
    padding: [u8; 6],
}

/// The modes by their number (`XT_CONNBYTES_PKTS` and so on).
const MODES: [Mode; 3] = [Mode::Packets, Mode::Bytes, Mode::Average];
/// The directions by their number (`XT_CONNBYTES_DIR_ORIGINAL` and so on).
const DIRECTIONS: [Direction; 3] = [Direction::Original, Direction::Reply, Direction::Both];

impl Wire for Connbytes0 {
    type Value = Connbytes;
    const NAME: &'static str = "connbytes";

    fn read(&self, _: &Context<'_>) -> Result<Option<Connbytes>, Refused> {
        let mode = MODES.get(usize::from(self.mode));
        let mode = *mode.ok_or(Refused("an unknown mode"))?;
        let direction = DIRECTIONS.get(usize::from(self.direction));
        let direction = *direction.ok_or(Refused("an unknown direction"))?;
        let (from, to) = (self.from.get(), self.to.get());
        let amount = Amount {
            low: from.min(to),
            high: from.max(to),
        };
        Ok(Some(Connbytes {
            amount: test(from > to, amount),
            mode,
            direction,
        }))
    }

    fn write(value: &Connbytes, _: &Context<'_>) -> Option<Self> {
        let Amount { low, high } = value.amount.value.value;
        let (from, to) = match value.amount.negated {
            true => (high, low),
            false => (low, high),
        };
        let mode = MODES.iter().position(|&mode| mode == value.mode)?;
        let direction = DIRECTIONS.iter().position(|&it| it == value.direction)?;
        Some(Self {
            from: from.into(),
            to: to.into(),
            mode: u8::try_from(mode).ok()?,
            direction: u8::try_from(direction).ok()?,
            padding: [0; 6],
        })
    }
}
