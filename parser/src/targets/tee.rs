//! `-j TEE`: a copy of the packet goes to another host; the packet goes on (libxt_TEE, xt_TEE.c).

use std::net::IpAddr;

use bstr::BString;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, text};
use crate::listing::Listing;
use crate::print::{Inet, Line};
use crate::value::host;

/// The `TEE` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tee {
    /// `--gateway`: the next hop of the copy.
    pub gateway: IpAddr,
    /// `--oif`: the interface that the copy leaves by, at most 15 bytes; empty to ask routing.
    pub interface: BString,
}

/// `IFNAMSIZ` less the NUL.
const INTERFACE_LIMIT: usize = 15;

static GATEWAY: Opt<IpAddr> =
    Opt::new(&["gateway"], |value| host(value.word(0), value.rule.family));
static INTERFACE: Opt<BString> = text(&["oif"]);

impl Extension for Tee {
    const NAME: &'static str = "TEE";
    const OPTIONS: &'static [&'static OptionSpec] = &[&GATEWAY.spec, &INTERFACE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let gateway = arguments.need(&GATEWAY)?.value;
        if gateway.value.is_unspecified() {
            let message = "the kernel refuses this address for a gateway";
            return Err(Diagnostic::error(code::BAD_VALUE, gateway.span, message)
                .with_help("write the address of a host in a network of this one"));
        }
        Ok(Self {
            gateway: gateway.value,
            interface: arguments
                .text(&INTERFACE, INTERFACE_LIMIT)?
                .unwrap_or_default(),
        })
    }

    fn print(&self, line: &mut Line) {
        line.word("--gateway");
        line.word(Inet(self.gateway));
        if !self.interface.is_empty() {
            line.word("--oif");
            line.raw(&self.interface);
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let gateway = line.host(self.gateway);
        line.word(format_args!("TEE gw:{gateway}"));
        if !self.interface.is_empty() {
            line.word(format_args!("oif={}", self.interface));
        }
    }
}
