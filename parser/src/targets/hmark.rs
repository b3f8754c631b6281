//! `-j HMARK`: a mark from a hash over the packet's addresses and ports; the packet goes on
//! (libxt_HMARK, xt_HMARK.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Family;
use crate::value::{is_prefix_of, number_of, prefix_length, ranged};

/// The `HMARK` target: `mark = hash % modulus + offset`. A field that is none has no part in the
/// hash, or none of its bits is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hmark {
    /// `--hmark-src-prefix`, the bits of the source address that count.
    pub source_prefix: Option<u8>,
    /// `--hmark-dst-prefix`
    pub destination_prefix: Option<u8>,
    /// `--hmark-sport-mask`, host byte order as all that follow.
    pub source_port_mask: Option<u16>,
    /// `--hmark-dport-mask`
    pub destination_port_mask: Option<u16>,
    /// `--hmark-spi-mask`, not with the two before it.
    pub spi_mask: Option<u32>,
    /// `--hmark-sport`, the bits that are set in the port after its mask.
    pub source_port: Option<u16>,
    /// `--hmark-dport`
    pub destination_port: Option<u16>,
    /// `--hmark-spi`, not with the two before it.
    pub spi: Option<u32>,
    /// `--hmark-proto-mask`
    pub protocol_mask: Option<u16>,
    /// `--hmark-rnd`, the seed of the hash.
    pub seed: u32,
    /// `--hmark-mod`, at least 1.
    pub modulus: u32,
    /// `--hmark-offset`
    pub offset: Option<u32>,
    /// `--hmark-tuple ct`: the fields are those of the connection's first packet.
    pub connection: bool,
}

/// A name of the list in `--hmark-tuple`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Connection,
    SourceAddress,
    DestinationAddress,
    SourcePort,
    DestinationPort,
    Protocol,
    Spi,
}

const FIELDS: [(&str, Field); 7] = [
    ("ct", Field::Connection),
    ("src", Field::SourceAddress),
    ("dst", Field::DestinationAddress),
    ("sport", Field::SourcePort),
    ("dport", Field::DestinationPort),
    ("proto", Field::Protocol),
    ("spi", Field::Spi),
];

static TUPLE: Opt<Vec<Field>> = Opt::new(&["hmark-tuple"], tuple);
static SOURCE_PREFIX: Opt<u8> = Opt::new(&["hmark-src-prefix"], prefix);
static DESTINATION_PREFIX: Opt<u8> = Opt::new(&["hmark-dst-prefix"], prefix);
static SOURCE_PORT_MASK: Opt<u16> = Opt::new(&["hmark-sport-mask"], half);
static DESTINATION_PORT_MASK: Opt<u16> = Opt::new(&["hmark-dport-mask"], half);
static SPI_MASK: Opt<u32> = Opt::new(&["hmark-spi-mask"], whole);
static SOURCE_PORT: Opt<u16> = Opt::new(&["hmark-sport"], half);
static DESTINATION_PORT: Opt<u16> = Opt::new(&["hmark-dport"], half);
static SPI: Opt<u32> = Opt::new(&["hmark-spi"], whole);
static PROTOCOL_MASK: Opt<u16> = Opt::new(&["hmark-proto-mask"], half);
static SEED: Opt<u32> = Opt::new(&["hmark-rnd"], whole);
static MODULUS: Opt<u32> = Opt::new(&["hmark-mod"], |value| {
    ranged(value.word(0), 1..=0xffff_ffff)
});
static OFFSET: Opt<u32> = Opt::new(&["hmark-offset"], whole);

impl Extension for Hmark {
    const NAME: &'static str = "HMARK";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &TUPLE.spec,
        &SOURCE_PREFIX.spec,
        &DESTINATION_PREFIX.spec,
        &SOURCE_PORT_MASK.spec,
        &DESTINATION_PORT_MASK.spec,
        &SPI_MASK.spec,
        &SOURCE_PORT.spec,
        &DESTINATION_PORT.spec,
        &SPI.spec,
        &PROTOCOL_MASK.spec,
        &SEED.spec,
        &MODULUS.spec,
        &OFFSET.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let all = match arguments.rule.family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        use Field::{
            Connection, DestinationAddress, DestinationPort, Protocol, SourceAddress, SourcePort,
            Spi,
        };
        let tuple = Tuple::read(arguments)?;
        let plain = |option| Ok(arguments.get(option)?.map(|given| given.value.value));
        let wide = |option| Ok(arguments.get(option)?.map(|given| given.value.value));
        let hmark = Self {
            source_prefix: tuple.merge(&SOURCE_PREFIX, SourceAddress, all)?,
            destination_prefix: tuple.merge(&DESTINATION_PREFIX, DestinationAddress, all)?,
            source_port_mask: tuple.merge(&SOURCE_PORT_MASK, SourcePort, u16::MAX)?,
            destination_port_mask: tuple.merge(
                &DESTINATION_PORT_MASK,
                DestinationPort,
                u16::MAX,
            )?,
            spi_mask: tuple.merge(&SPI_MASK, Spi, u32::MAX)?,
            source_port: plain(&SOURCE_PORT)?,
            destination_port: plain(&DESTINATION_PORT)?,
            spi: wide(&SPI)?,
            protocol_mask: tuple.merge(&PROTOCOL_MASK, Protocol, u16::MAX)?,
            seed: arguments.need(&SEED)?.value.value,
            modulus: arguments.need(&MODULUS)?.value.value,
            offset: wide(&OFFSET)?,
            connection: tuple.has(Connection),
        };
        hmark.check(arguments)?;
        Ok(hmark)
    }

    fn print(&self, line: &mut Line) {
        let mut number = |option: &str, value: Option<u32>| {
            if let Some(value) = value {
                line.word(format!("{option} {value}"));
            }
        };
        number("--hmark-src-prefix", self.source_prefix.map(u32::from));
        number("--hmark-dst-prefix", self.destination_prefix.map(u32::from));
        let mut hexadecimal = |option: &str, value: Option<u32>, digits: usize| {
            if let Some(value) = value {
                line.word(format!("{option} 0x{value:0digits$x}"));
            }
        };
        let half = |value: Option<u16>| value.map(u32::from);
        hexadecimal("--hmark-sport-mask", half(self.source_port_mask), 4);
        hexadecimal("--hmark-dport-mask", half(self.destination_port_mask), 4);
        hexadecimal("--hmark-spi-mask", self.spi_mask, 8);
        hexadecimal("--hmark-sport", half(self.source_port), 4);
        hexadecimal("--hmark-dport", half(self.destination_port), 4);
        hexadecimal("--hmark-spi", self.spi, 8);
        hexadecimal("--hmark-proto-mask", half(self.protocol_mask), 2);
        hexadecimal("--hmark-rnd", Some(self.seed), 8);
        line.word(format!("--hmark-mod {}", self.modulus));
        if let Some(offset) = self.offset {
            line.word(format!("--hmark-offset {offset}"));
        }
        if self.connection {
            line.word("--hmark-tuple ct");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.put(format_args!(" HMARK mod {} ", self.modulus));
        if let Some(offset) = self.offset {
            line.put(format_args!("+ {offset:#x} "));
        }
        if self.connection {
            line.put("ct, ");
        }
        for (name, prefix) in [
            ("src-prefix", self.source_prefix),
            ("dst-prefix", self.destination_prefix),
        ] {
            if let Some(prefix) = prefix {
                line.put(format_args!("{name} {prefix} "));
            }
        }
        for (name, value) in [
            ("sport-mask", self.source_port_mask.map(u32::from)),
            ("dport-mask", self.destination_port_mask.map(u32::from)),
            ("spi-mask", self.spi_mask),
            ("sport", self.source_port.map(u32::from)),
            ("dport", self.destination_port.map(u32::from)),
            ("spi", self.spi),
            ("proto-mask", self.protocol_mask.map(u32::from)),
            ("rnd", Some(self.seed)),
        ] {
            if let Some(value) = value {
                line.put(format_args!("{name} {value:#x} "));
            }
        }
    }
}

impl Hmark {
    /// Whether there is something to hash, without which no rule can be written.
    pub(crate) fn has_field(&self) -> bool {
        self.source_prefix.is_some()
            || self.destination_prefix.is_some()
            || self.spi_mask.is_some()
            || self.source_port_mask.is_some()
            || self.destination_port_mask.is_some()
            || self.protocol_mask.is_some()
            || self.spi.is_some()
            || self.source_port.is_some()
            || self.destination_port.is_some()
            || self.connection
    }

    fn check(&self, arguments: &Arguments<'_>) -> Result<(), Diagnostic> {
        let has_port_mask = self.source_port_mask.is_some() || self.destination_port_mask.is_some();
        let has_port = self.source_port.is_some() || self.destination_port.is_some();
        // The kernel keeps ports and SPI in the same four bytes.
        if self.spi_mask.is_some() && has_port_mask || self.spi.is_some() && has_port {
            return Err(arguments
                .error(code::REPEATED_OPTION, "ports and SPI exclude each other")
                .with_help("a packet has ports or an SPI: write two rules"));
        }
        if self.has_field() {
            return Ok(());
        }
        Err(arguments
            .error(code::MISSING_OPTION, "there is nothing to hash")
            .with_help("add --hmark-tuple, as in --hmark-tuple src,dst"))
    }
}

/// The list of `--hmark-tuple` beside the options that say the same of one field.
struct Tuple<'a> {
    arguments: &'a Arguments<'a>,
    fields: Vec<Field>,
    /// Where the list starts.
    start: u32,
}

impl<'a> Tuple<'a> {
    fn read(arguments: &'a Arguments<'a>) -> Result<Self, Diagnostic> {
        let given = arguments.get(&TUPLE)?;
        let (fields, start) = match given {
            Some(given) => (given.value.value, given.value.span.start),
            None => (Vec::new(), 0),
        };
        Ok(Self {
            arguments,
            fields,
            start,
        })
    }

    fn has(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    /// What counts of a field: all of it if the list names it, else what its option says. The option
    /// may stand before the list, which then wins, and not behind it.
    fn merge<T>(
        &self,
        option: &'static Opt<T>,
        field: Field,
        all: T,
    ) -> Result<Option<T>, Diagnostic> {
        match (self.arguments.get(option)?, self.has(field)) {
            (Some(given), true) if given.value.span.start > self.start => {
                let name = option.spec.name();
                Err(Diagnostic::error(
                    code::REPEATED_OPTION,
                    given.value.span,
                    format!("--hmark-tuple says already what --{name} says"),
                )
                .with_help("take the field out of --hmark-tuple"))
            }
            (_, true) => Ok(Some(all)),
            (given, false) => Ok(given.map(|given| given.value.value)),
        }
    }
}

/// Names between commas, each by any leading part.
fn tuple(value: &Value<'_>) -> Result<Vec<Field>, Problem> {
    let fields = value.word(0).split_str(",").map(|name| {
        let row = FIELDS.iter().find(|row| is_prefix_of(name, row.0));
        row.map(|row| row.1).ok_or_else(|| {
            let names: Vec<&str> = FIELDS.iter().map(|row| row.0).collect();
            Problem::new(format!("{:?} is no field", BStr::new(name)))
                .with_help(format!("the fields are {}", names.join(", ")))
        })
    });
    fields.collect()
}

fn prefix(value: &Value<'_>) -> Result<u8, Problem> {
    prefix_length(value.word(0), value.rule.family)
}

fn half(value: &Value<'_>) -> Result<u16, Problem> {
    number_of(value.word(0))
}

fn whole(value: &Value<'_>) -> Result<u32, Problem> {
    number_of(value.word(0))
}
