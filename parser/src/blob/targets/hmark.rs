//! `struct xt_hmark_info` (netfilter/xt_HMARK.h).

use zerocopy::big_endian;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::blob::layout::{InetAddress, read_prefix, tidy_mask, write_prefix};
use crate::targets::hmark::Hmark;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Hmark0 {
    source_mask: InetAddress,
    destination_mask: InetAddress,
    port_mask: Ports,
    port_set: Ports,
    flags: U32,
    protocol_mask: U16,
    padding: [u8; 2],
    seed: U32,
    modulus: U32,
    offset: U32,
}

/// `union hmark_ports`: the source port and the destination port, or an SPI.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Ports {
    source: big_endian::U16,
    destination: big_endian::U16,
}

/// The bits of `XT_HMARK_FLAG`, from the least.
const SOURCE_PREFIX: u32 = 1 << 0;
const DESTINATION_PREFIX: u32 = 1 << 1;
const SPI: u32 = 1 << 2;
const SPI_MASK: u32 = 1 << 3;
const SOURCE_PORT: u32 = 1 << 4;
const DESTINATION_PORT: u32 = 1 << 5;
const SOURCE_PORT_MASK: u32 = 1 << 6;
const DESTINATION_PORT_MASK: u32 = 1 << 7;
const PROTOCOL_MASK: u32 = 1 << 8;
const SEED: u32 = 1 << 9;
const MODULUS: u32 = 1 << 10;
const OFFSET: u32 = 1 << 11;
const CONNECTION: u32 = 1 << 12;
const METHOD_L3: u32 = 1 << 13;

impl Ports {
    fn read_spi(self) -> u32 {
        u32::from(self.source.get()) << 16 | u32::from(self.destination.get())
    }

    fn write(source: Option<u16>, destination: Option<u16>, spi: Option<u32>) -> Self {
        match spi {
            Some(spi) => Self {
                source: ((spi >> 16) as u16).into(),
                destination: (spi as u16).into(),
            },
            None => Self {
                source: source.unwrap_or_default().into(),
                destination: destination.unwrap_or_default().into(),
            },
        }
    }
}

impl Wire for Hmark0 {
    type Value = Hmark;
    const NAME: &'static str = "HMARK";

    fn read(&self, context: &Context<'_>) -> Result<Option<Hmark>, Refused> {
        let has = |flag| self.flags.get() & flag != 0;
        if self.modulus == 0 {
            return Err(Refused("a modulus of zero"));
        }
        if has(METHOD_L3) && self.protocol_mask != 0 {
            return Err(Refused("a mask of the protocol where addresses are hashed"));
        }
        if has(SPI_MASK) && has(SOURCE_PORT_MASK | DESTINATION_PORT_MASK)
            || has(SPI) && has(SOURCE_PORT | DESTINATION_PORT)
        {
            return Err(Refused("ports and an SPI"));
        }
        let prefix = |mask| read_prefix(context.family, mask);
        let hmark = Hmark {
            source_prefix: prefix(&self.source_mask).filter(|_| has(SOURCE_PREFIX)),
            destination_prefix: prefix(&self.destination_mask).filter(|_| has(DESTINATION_PREFIX)),
            source_port_mask: has(SOURCE_PORT_MASK).then_some(self.port_mask.source.get()),
            destination_port_mask: has(DESTINATION_PORT_MASK)
                .then_some(self.port_mask.destination.get()),
            spi_mask: has(SPI_MASK).then_some(self.port_mask.read_spi()),
            source_port: has(SOURCE_PORT).then_some(self.port_set.source.get()),
            destination_port: has(DESTINATION_PORT).then_some(self.port_set.destination.get()),
            spi: has(SPI).then_some(self.port_set.read_spi()),
            protocol_mask: has(PROTOCOL_MASK).then_some(self.protocol_mask.get()),
            seed: self.seed.get(),
            modulus: self.modulus.get(),
            offset: has(OFFSET).then_some(self.offset.get()),
            connection: has(CONNECTION),
        };
        Ok(Some(hmark).filter(Hmark::has_field))
    }

    fn write(value: &Hmark, _: &Context<'_>) -> Option<Self> {
        let mask = |prefix: Option<u8>| prefix.map_or([0; 16], write_prefix);
        let flags = flag(value.source_prefix.is_some(), SOURCE_PREFIX)
            | flag(value.destination_prefix.is_some(), DESTINATION_PREFIX)
            | flag(value.source_port_mask.is_some(), SOURCE_PORT_MASK)
            | flag(value.destination_port_mask.is_some(), DESTINATION_PORT_MASK)
            | flag(value.spi_mask.is_some(), SPI_MASK)
            | flag(value.source_port.is_some(), SOURCE_PORT)
            | flag(value.destination_port.is_some(), DESTINATION_PORT)
            | flag(value.spi.is_some(), SPI)
            | flag(value.protocol_mask.is_some(), PROTOCOL_MASK)
            | flag(value.offset.is_some(), OFFSET)
            | flag(value.connection, CONNECTION)
            | SEED
            | MODULUS;
        Some(Self {
            source_mask: mask(value.source_prefix),
            destination_mask: mask(value.destination_prefix),
            port_mask: Ports::write(
                value.source_port_mask,
                value.destination_port_mask,
                value.spi_mask,
            ),
            port_set: Ports::write(value.source_port, value.destination_port, value.spi),
            flags: flags.into(),
            protocol_mask: value.protocol_mask.unwrap_or_default().into(),
            padding: [0; 2],
            seed: value.seed.into(),
            modulus: value.modulus.into(),
            offset: value.offset.unwrap_or_default().into(),
        })
    }

    fn tidied(mut self, context: &Context<'_>) -> Self {
        tidy_mask(context.family, &mut self.source_mask);
        tidy_mask(context.family, &mut self.destination_mask);
        self
    }
}
