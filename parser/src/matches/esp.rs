//! `-m esp`: the IPsec encapsulation header (libxt_esp, xt_esp.c).

use serde::Serialize;

use super::{NumberRange, print_range, read_range};
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::number_range;

/// The `esp` match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Esp {
    /// `--espspi`: the security parameters index.
    pub spi: Option<Negatable<NumberRange>>,
}

const PROTOCOL_ESP: u8 = 50;

static SPI: Opt<NumberRange> =
    Opt::new(&["espspi"], |value| number_range(value.word(0))).invertible();

impl Extension for Esp {
    const NAME: &'static str = "esp";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SPI.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_ESP], "-p esp")?;
        let spi = read_range(arguments, &SPI)?;
        Ok(Self { spi })
    }

    fn print(&self, line: &mut Line) {
        print_range(line, "--espspi", &self.spi);
    }
}
