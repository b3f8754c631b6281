//! `struct xt_addrtype_info_v1` (netfilter/xt_addrtype.h).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::addrtype::{AddressType, Addrtype, Device};
use crate::ruleset::{Family, Negatable};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Addrtype1 {
    source: U16,
    destination: U16,
    flags: U32,
}

/// `XT_ADDRTYPE_INVERT_SOURCE`
const NOT_SOURCE: u32 = 0x01;
/// `XT_ADDRTYPE_INVERT_DEST`
const NOT_DESTINATION: u32 = 0x02;
/// `XT_ADDRTYPE_LIMIT_IFACE_IN`
const DEVICE_IN: u32 = 0x04;
/// `XT_ADDRTYPE_LIMIT_IFACE_OUT`
const DEVICE_OUT: u32 = 0x08;

/// The types by their bit.
const TYPES: [AddressType; 12] = [
    AddressType::Unspec,
    AddressType::Unicast,
    AddressType::Local,
    AddressType::Broadcast,
    AddressType::Anycast,
    AddressType::Multicast,
    AddressType::Blackhole,
    AddressType::Unreachable,
    AddressType::Prohibit,
    AddressType::Throw,
    AddressType::Nat,
    AddressType::Xresolve,
];
/// `XT_ADDRTYPE_BROADCAST`, `XT_ADDRTYPE_BLACKHOLE` and all from `XT_ADDRTYPE_PROHIBIT` on.
const NOT_FOR_V6: u16 = 1 << 3 | 1 << 6 | 0xff00;

impl Wire for Addrtype1 {
    type Value = Addrtype;
    const NAME: &'static str = "addrtype";
    const REVISION: u8 = 1;

    fn read(&self, context: &Context<'_>) -> Result<Option<Addrtype>, Refused> {
        let flags = self.flags.get();
        let device = match flags & (DEVICE_IN | DEVICE_OUT) {
            0 => None,
            DEVICE_IN => Some(Device::In),
            DEVICE_OUT => Some(Device::Out),
            _ => return Err(Refused("both devices")),
        };
        let all = self.source.get() | self.destination.get();
        if context.family == Family::V6 && all & NOT_FOR_V6 != 0 {
            return Err(Refused("a type that IPv6 does not have"));
        }
        let types = |mask: U16, inversion| {
            let types = (0..).zip(TYPES).filter(|row| mask.get() >> row.0 & 1 != 0);
            let types: Vec<AddressType> = types.map(|row| row.1).collect();
            (!types.is_empty()).then(|| test(flags & inversion != 0, types))
        };
        Ok(Some(Addrtype {
            source: types(self.source, NOT_SOURCE),
            destination: types(self.destination, NOT_DESTINATION),
            device,
        }))
    }

    fn write(value: &Addrtype, _: &Context<'_>) -> Option<Self> {
        let mask = |types: &Option<Negatable<Vec<AddressType>>>| {
            let types = types.as_ref().map_or(&[][..], |it| &it.value.value);
            let bits = (0..).zip(TYPES).filter(|row| types.contains(&row.1));
            U16::new(bits.map(|row| 1 << row.0).sum())
        };
        Some(Self {
            source: mask(&value.source),
            destination: mask(&value.destination),
            flags: (inversion(&value.source, NOT_SOURCE)
                | inversion(&value.destination, NOT_DESTINATION)
                | flag(value.device == Some(Device::In), DEVICE_IN)
                | flag(value.device == Some(Device::Out), DEVICE_OUT))
            .into(),
        })
    }
}
