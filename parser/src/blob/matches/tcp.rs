//! `struct xt_tcp` (netfilter/xt_tcpudp.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{read_ports, write_ports};
use crate::blob::codec::{Context, Refused, Wire, inversion, test};
use crate::matches::tcp::{Flags, Tcp};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Tcp0 {
    source_ports: [U16; 2],
    destination_ports: [U16; 2],
    option: u8,
    mask: u8,
    set: u8,
    inverted: u8,
}

/// `XT_TCP_INV_SRCPT`
const SOURCE: u8 = 0x01;
/// `XT_TCP_INV_DSTPT`
const DESTINATION: u8 = 0x02;
/// `XT_TCP_INV_FLAGS`
const FLAGS: u8 = 0x04;
/// `XT_TCP_INV_OPTION`
const OPTION: u8 = 0x08;
/// The flags that have a name.
const NAMED: u8 = 0x3f;

impl Wire for Tcp0 {
    type Value = Tcp;
    const NAME: &'static str = "tcp";
    const PROTOCOLS: &'static [u8] = &[6];

    fn read(&self, _: &Context<'_>) -> Result<Option<Tcp>, Refused> {
        if self.inverted & !(SOURCE | DESTINATION | FLAGS | OPTION) != 0 {
            return Err(Refused("an unknown inversion"));
        }
        if (self.mask | self.set) & !NAMED != 0 {
            return Ok(None);
        }
        let is_inverted = |flag| self.inverted & flag != 0;
        let flags = Flags {
            mask: self.mask,
            set: self.set,
        };
        let tests_flags = is_inverted(FLAGS) || flags.mask != 0 || flags.set != 0;
        Ok(Some(Tcp {
            source_ports: read_ports(self.source_ports, is_inverted(SOURCE)),
            destination_ports: read_ports(self.destination_ports, is_inverted(DESTINATION)),
            flags: tests_flags.then(|| test(is_inverted(FLAGS), flags)),
            option: (self.option != 0).then(|| test(is_inverted(OPTION), self.option)),
        }))
    }

    fn write(value: &Tcp, _: &Context<'_>) -> Option<Self> {
        let flags = value.flags.as_ref().map(|it| it.value.value);
        Some(Self {
            source_ports: write_ports(&value.source_ports),
            destination_ports: write_ports(&value.destination_ports),
            option: value.option.as_ref().map_or(0, |it| it.value.value),
            mask: flags.map_or(0, |it| it.mask),
            set: flags.map_or(0, |it| it.set),
            inverted: inversion(&value.source_ports, SOURCE)
                | inversion(&value.destination_ports, DESTINATION)
                | inversion(&value.flags, FLAGS)
                | inversion(&value.option, OPTION),
        })
    }
}
