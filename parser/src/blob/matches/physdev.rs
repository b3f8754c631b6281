//! `struct xt_physdev_info` (netfilter/xt_physdev.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::base::{read_interface, write_interface};
use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::blob::layout::InterfaceName;
use crate::matches::physdev::Physdev;
use crate::ruleset::{InterfacePattern, Negatable};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Physdev0 {
    inwards: InterfaceName,
    inwards_mask: InterfaceName,
    outwards: InterfaceName,
    outwards_mask: InterfaceName,
    inverted: u8,
    tests: u8,
}

/// `XT_PHYSDEV_OP_IN`
const IN: u8 = 0x01;
/// `XT_PHYSDEV_OP_OUT`
const OUT: u8 = 0x02;
/// `XT_PHYSDEV_OP_BRIDGED`
const BRIDGED: u8 = 0x04;
/// `XT_PHYSDEV_OP_ISIN`
const IS_IN: u8 = 0x08;
/// `XT_PHYSDEV_OP_ISOUT`
const IS_OUT: u8 = 0x10;

impl Wire for Physdev0 {
    type Value = Physdev;
    const NAME: &'static str = "physdev";

    fn read(&self, _: &Context<'_>) -> Result<Option<Physdev>, Refused> {
        if self.tests == 0 || self.tests & !(IN | OUT | BRIDGED | IS_IN | IS_OUT) != 0 {
            return Err(Refused("no test or an unknown one"));
        }
        let is_inverted = |bit| self.inverted & bit != 0;
        let is = |bit| (self.tests & bit != 0).then(|| test(is_inverted(bit), ()));
        let (Some(inwards), Some(outwards)) = (
            read_interface(&self.inwards, &self.inwards_mask),
            read_interface(&self.outwards, &self.outwards_mask),
        ) else {
            return Ok(None);
        };
        let port = |pattern: Option<InterfacePattern>, bit| {
            pattern.map(|pattern| test(is_inverted(bit), pattern))
        };
        Ok(Some(Physdev {
            is_in: is(IS_IN),
            in_port: port(inwards, IN),
            is_out: is(IS_OUT),
            out_port: port(outwards, OUT),
            is_bridged: is(BRIDGED),
        }))
    }

    fn write(value: &Physdev, _: &Context<'_>) -> Option<Self> {
        let port = |port: &Option<Negatable<InterfacePattern>>| match port {
            None => Some(Default::default()),
            Some(port) => write_interface(&port.value.value),
        };
        let (inwards, inwards_mask) = port(&value.in_port)?;
        let (outwards, outwards_mask) = port(&value.out_port)?;
        Some(Self {
            inwards,
            inwards_mask,
            outwards,
            outwards_mask,
            inverted: inversion(&value.in_port, IN)
                | inversion(&value.out_port, OUT)
                | inversion(&value.is_bridged, BRIDGED)
                | inversion(&value.is_in, IS_IN)
                | inversion(&value.is_out, IS_OUT),
            tests: flag(value.in_port.is_some(), IN)
                | flag(value.out_port.is_some(), OUT)
                | flag(value.is_bridged.is_some(), BRIDGED)
                | flag(value.is_in.is_some(), IS_IN)
                | flag(value.is_out.is_some(), IS_OUT),
        })
    }
}
