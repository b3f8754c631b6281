//! `-m ah`: the IPsec authentication header (libipt_ah, ipt_ah.c; libip6t_ah, ip6t_ah.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, switch};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::range::{self, Range};
use crate::ruleset::{Family, Negatable};
use crate::value::{self, word32};

/// The `ah` match of IPv4, where the header is a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ah {
    /// `--ahspi`: the security parameters index.
    pub spi: Negatable<Range<u32>>,
}

/// The `ah` match of IPv6, where the header is an extension header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ah6 {
    /// `--ahspi`: the security parameters index.
    pub spi: Negatable<Range<u32>>,
    /// `--ahlen`: the header's length in bytes. 0 does not test, even inverted.
    pub length: Option<Negatable<u32>>,
    /// `--ahres`: the reserved field is zero.
    pub reserved: bool,
}

const PROTOCOL_AH: u8 = 51;

static SPI: Opt<Range<u32>> =
    Opt::new(&["ahspi"], |value| value::range(value.word(0))).invertible();
static LENGTH: Opt<u32> = Opt::new(&["ahlen"], |value| {
    word32(value.word(0)).ok_or_else(|| Problem::new("a length is a number of at most 32 bits"))
})
.invertible();
static RESERVED: Opt<()> = switch(&["ahres"]);

impl Extension for Ah {
    const NAME: &'static str = "ah";
    const FAMILY: Option<Family> = Some(Family::V4);
    const OPTIONS: &'static [&'static OptionSpec] = &[&SPI.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_AH], "-p ah")?;
        let spi = range::read(arguments, &SPI, Range::EVERYTHING)?;
        Ok(Self { spi })
    }

    fn print(&self, line: &mut Line) {
        range::print(line, "--ahspi", &self.spi);
    }

    fn list(&self, line: &mut Listing<'_>) {
        let spi = Listing::range_text("spi", &self.spi).unwrap_or_default();
        line.word(format_args!("ah {spi}"));
    }
}

impl Extension for Ah6 {
    const NAME: &'static str = "ah";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[&SPI.spec, &LENGTH.spec, &RESERVED.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            spi: range::read(arguments, &SPI, Range::EVERYTHING)?,
            length: arguments.get(&LENGTH)?,
            reserved: arguments.has(&RESERVED),
        })
    }

    fn print(&self, line: &mut Line) {
        range::print(line, "--ahspi", &self.spi);
        if let Some(length) = self
            .length
            .as_ref()
            .filter(|it| it.negated || it.value.value != 0)
        {
            line.option(length.negated, "--ahlen");
            line.word(length.value.value);
        }
        if self.reserved {
            line.word("--ahres");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let spi = Listing::range_text("spi", &self.spi).unwrap_or_default();
        line.word(format_args!("ah {spi}"));
        if let Some(length) = self
            .length
            .as_ref()
            .filter(|it| it.negated || it.value.value != 0)
        {
            let sign = sign(length.negated);
            line.put(format_args!("length:{sign}{}", length.value.value));
        }
        if self.reserved {
            line.word("reserved");
        }
    }
}
