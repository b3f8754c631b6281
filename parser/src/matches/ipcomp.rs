//! `-m ipcomp`: the parameter index of IP payload compression (libxt_ipcomp, xt_ipcomp.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::range::{self, Range};
use crate::ruleset::Negatable;
use crate::value;

/// The `ipcomp` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ipcomp {
    /// `--ipcompspi`: the compression parameter index, of which the packet has 16 bits (RFC 3173).
    /// Only 0 when it is not given.
    pub spi: Negatable<Range<u32>>,
    /// `--compres`, which the kernel does not look at.
    pub reserved: bool,
}

/// `IPPROTO_COMP`
const PROTOCOL: u8 = 108;

static SPI: Opt<Range<u32>> =
    Opt::new(&["ipcompspi"], |value| value::range(value.word(0))).invertible();
static RESERVED: Opt<()> = switch(&["compres"]);

impl Extension for Ipcomp {
    const NAME: &'static str = "ipcomp";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SPI.spec, &RESERVED.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL], "-p ipcomp")?;
        let spi = range::read(arguments, &SPI, Range::of(0))?;
        Ok(Self {
            spi,
            reserved: arguments.has(&RESERVED),
        })
    }

    fn print(&self, line: &mut Line) {
        range::print(line, "--ipcompspi", &self.spi);
        if self.reserved {
            line.word("--compres");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let spi = Listing::range_text("spi", &self.spi).unwrap_or_default();
        line.word(format_args!("comp {spi}"));
        if self.reserved {
            line.word("reserved");
        }
    }
}
