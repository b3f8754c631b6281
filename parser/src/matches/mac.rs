//! `-m mac`: the Ethernet source address (libxt_mac, xt_mac.c).

use std::fmt;

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Negatable, NfHook};

/// The `mac` match. It fails in both polarities without an Ethernet header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mac {
    /// `--mac-source`
    pub source: Negatable<MacAddress>,
}

/// An Ethernet address, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct MacAddress(pub [u8; 6]);

static SOURCE: Opt<MacAddress> = Opt::new(&["mac-source"], address).invertible();

impl Extension for Mac {
    const NAME: &'static str = "mac";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SOURCE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let source = arguments.need(&SOURCE)?;
        Ok(Self { source })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting, NfHook::Input, NfHook::Forward]
    }

    fn print(&self, line: &mut Line) {
        line.option(self.source.negated, "--mac-source");
        line.word(self.source.value.value);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("MAC");
        if self.source.negated {
            line.word("!");
        }
        line.word(self.source.value.value);
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Six hexadecimal numbers between colons.
pub(crate) fn address(value: &Value<'_>) -> Result<MacAddress, Problem> {
    let word = value.word(0);
    let bytes: Option<Vec<u8>> = word.split_str(":").map(byte).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(MacAddress)
        .ok_or_else(|| {
            Problem::new(format!("{:?} is no Ethernet address", BStr::new(word)))
                .usage("Invalid MAC address specified.")
                .with_help("write six hexadecimal numbers, as in 02:00:5e:10:00:01")
        })
}

/// A part of two characters at most as `strtoul` with base 16 reads it: blanks and a plus before the
/// digits, or nothing at all for zero (libxtables, `xtopt_parse_ethermac`).
fn byte(part: &[u8]) -> Option<u8> {
    match part {
        b"" => Some(0),
        _ if part.len() > 2 => None,
        _ => u8::from_str_radix(part.trim_start().to_str().ok()?, 16).ok(),
    }
}
