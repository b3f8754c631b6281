//! `struct xt_multiport_v1` (netfilter/xt_multiport.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::PortRange;
use crate::matches::multiport::{Multiport, Side};

/// `XT_MULTI_PORTS`
const SLOTS: usize = 15;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Multiport1 {
    side: u8,
    count: u8,
    ports: [U16; SLOTS],
    /// 1 where a range starts, whose end has the next slot.
    is_start: [u8; SLOTS],
    inverted: u8,
}

/// The sides by their number (`XT_MULTIPORT_SOURCE` and so on).
const SIDES: [Side; 3] = [Side::Source, Side::Destination, Side::Either];

impl Wire for Multiport1 {
    type Value = Multiport;
    const NAME: &'static str = "multiport";
    const REVISION: u8 = 1;
    const PROTOCOLS: &'static [u8] = &[6, 17, 33, 132, 136];

    fn read(&self, _: &Context<'_>) -> Result<Option<Multiport>, Refused> {
        let side = SIDES.get(usize::from(self.side));
        let side = *side.ok_or(Refused("an unknown side"))?;
        let count = usize::from(self.count);
        let ports = self.ports.get(..count).ok_or(Refused("too many ports"))?;
        let mut slots = ports.iter().map(|port| port.get()).zip(self.is_start);
        let mut ranges = Vec::new();
        while let Some((low, is_start)) = slots.next() {
            let high = match is_start {
                0 => low,
                _ => match slots.next() {
                    Some((high, 0)) if low < high => high,
                    _ => return Ok(None),
                },
            };
            ranges.push(PortRange { low, high });
        }
        if ranges.is_empty() {
            return Ok(None);
        }
        let ports = test(self.inverted != 0, ranges);
        Ok(Some(Multiport { side, ports }))
    }

    fn write(value: &Multiport, _: &Context<'_>) -> Option<Self> {
        let mut wire = Self {
            side: SIDES.iter().position(|&side| side == value.side)? as u8,
            count: 0,
            ports: [0.into(); SLOTS],
            is_start: [0; SLOTS],
            inverted: value.ports.negated.into(),
        };
        let mut slots = wire.ports.iter_mut().zip(&mut wire.is_start);
        for &PortRange { low, high } in &value.ports.value.value {
            let (port, is_start) = slots.next()?;
            *port = low.into();
            wire.count += 1;
            if low != high {
                *is_start = 1;
                let (port, _) = slots.next()?;
                *port = high.into();
                wire.count += 1;
            }
        }
        Some(wire)
    }
}
