//! `-m esp`: the IPsec encapsulation header (libxt_esp, xt_esp.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::range::{self, Range};
use crate::ruleset::Negatable;
use crate::value;

/// The `esp` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Esp {
    /// `--espspi`: the security parameters index.
    pub spi: Negatable<Range<u32>>,
}

const PROTOCOL_ESP: u8 = 50;

static SPI: Opt<Range<u32>> =
    Opt::new(&["espspi"], |value| value::range(value.word(0))).invertible();

impl Extension for Esp {
    const NAME: &'static str = "esp";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SPI.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_ESP], "-p esp")?;
        let spi = range::read(arguments, &SPI, Range::EVERYTHING)?;
        Ok(Self { spi })
    }

    fn print(&self, line: &mut Line) {
        range::print(line, "--espspi", &self.spi);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("esp");
        line.range("spi", &self.spi);
    }
}
