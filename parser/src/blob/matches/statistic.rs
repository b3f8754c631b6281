//! `struct xt_statistic_info` (netfilter/xt_statistic.h). The kernel's pointer is zero on the wire.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::matches::statistic::Statistic;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Statistic0 {
    mode: U16,
    flags: U16,
    /// The probability, or the length of the cycle less one.
    first: U32,
    packet: U32,
    /// How many packets are to come until the first counts. libxt_statistic fills it in either mode.
    count: U32,
    kernel: [u8; 8],
}

/// `XT_STATISTIC_MODE_RANDOM`
const RANDOM: u16 = 0;
/// `XT_STATISTIC_MODE_NTH`
const NTH: u16 = 1;
/// `XT_STATISTIC_INVERT`
const INVERTED: u16 = 0x01;

impl Wire for Statistic0 {
    type Value = Statistic;
    const NAME: &'static str = "statistic";

    fn read(&self, _: &Context<'_>) -> Result<Option<Statistic>, Refused> {
        if self.flags.get() & !INVERTED != 0 {
            return Err(Refused("an unknown flag"));
        }
        let negated = self.flags.get() & INVERTED != 0;
        match self.mode.get() {
            RANDOM => Ok(Some(Statistic::Random {
                probability: test(negated, self.first.get()),
            })),
            NTH => {
                let every = self.first.get().checked_add(1);
                Ok(every
                    .filter(|&every| self.packet.get() < every)
                    .map(|every| Statistic::Nth {
                        every: test(negated, every),
                        packet: self.packet.get(),
                    }))
            }
            _ => Err(Refused("an unknown mode")),
        }
    }

    fn write(value: &Statistic, _: &Context<'_>) -> Option<Self> {
        let (mode, negated, first, packet) = match value {
            Statistic::Random { probability } => {
                (RANDOM, probability.negated, probability.value.value, 0)
            }
            Statistic::Nth { every, packet } => {
                let last = every.value.value.checked_sub(1)?;
                (NTH, every.negated, last, *packet)
            }
        };
        Some(Self {
            mode: mode.into(),
            flags: flag(negated, INVERTED).into(),
            first: first.into(),
            packet: packet.into(),
            count: first.wrapping_sub(packet).into(),
            kernel: [0; 8],
        })
    }
}
