//! `struct xt_dccp_info` (netfilter/xt_dccp.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::PortRange;
use crate::matches::dccp::{Dccp, PacketTypes};
use crate::ruleset::Negatable;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Dccp0 {
    destination_ports: [U16; 2],
    source_ports: [U16; 2],
    tests: U16,
    inverted: U16,
    types: U16,
    option: u8,
    padding: u8,
}

/// `XT_DCCP_SRC_PORTS`
const SOURCE: u16 = 0x01;
/// `XT_DCCP_DEST_PORTS`
const DESTINATION: u16 = 0x02;
/// `XT_DCCP_TYPE`
const TYPES: u16 = 0x04;
/// `XT_DCCP_OPTION`
const OPTION: u16 = 0x08;

impl Wire for Dccp0 {
    type Value = Dccp;
    const NAME: &'static str = "dccp";
    const PROTOCOLS: &'static [u8] = &[33];

    fn read(&self, _: &Context<'_>) -> Result<Option<Dccp>, Refused> {
        let (tests, inverted) = (self.tests.get(), self.inverted.get());
        if tests & !(SOURCE | DESTINATION | TYPES | OPTION) != 0 || inverted & !tests != 0 {
            return Err(Refused("an unknown flag"));
        }
        let has = |bit| tests & bit != 0;
        let is_inverted = |bit| inverted & bit != 0;
        let ports = |[low, high]: [U16; 2], bit| {
            let ports = PortRange {
                low: low.get(),
                high: high.get(),
            };
            has(bit).then(|| test(is_inverted(bit), ports))
        };
        Ok(Some(Dccp {
            source_ports: ports(self.source_ports, SOURCE),
            destination_ports: ports(self.destination_ports, DESTINATION),
            types: has(TYPES).then(|| test(is_inverted(TYPES), PacketTypes(self.types.get()))),
            option: has(OPTION).then(|| test(is_inverted(OPTION), self.option)),
        }))
    }

    fn write(value: &Dccp, _: &Context<'_>) -> Option<Self> {
        let ports = |ports: &Option<Negatable<PortRange>>| match ports {
            None => [0.into(); 2],
            Some(ports) => [ports.value.value.low.into(), ports.value.value.high.into()],
        };
        Some(Self {
            destination_ports: ports(&value.destination_ports),
            source_ports: ports(&value.source_ports),
            tests: (flag(value.source_ports.is_some(), SOURCE)
                | flag(value.destination_ports.is_some(), DESTINATION)
                | flag(value.types.is_some(), TYPES)
                | flag(value.option.is_some(), OPTION))
            .into(),
            inverted: (inversion(&value.source_ports, SOURCE)
                | inversion(&value.destination_ports, DESTINATION)
                | inversion(&value.types, TYPES)
                | inversion(&value.option, OPTION))
            .into(),
            types: value.types.as_ref().map_or(0, |it| it.value.value.0).into(),
            option: value.option.as_ref().map_or(0, |it| it.value.value),
            padding: 0,
        })
    }
}
