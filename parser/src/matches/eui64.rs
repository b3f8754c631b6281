//! `-m eui64`: the lower half of the source address is made from the sender's Ethernet address
//! (ip6t_eui64.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Family, NfHook};

/// The `eui64` match, which has no options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Eui64;

impl Extension for Eui64 {
    const NAME: &'static str = "eui64";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[];

    fn build(_: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self)
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting, NfHook::Input, NfHook::Forward]
    }

    fn print(&self, _: &mut Line) {}

    fn list(&self, line: &mut Listing<'_>) {
        // The tool has no words of its own for it.
        line.put("eui64 ");
    }
}
