//! `-j NETMAP`: the network part of an address is replaced, the host part stays (libipt_NETMAP,
//! libip6t_NETMAP, xt_NETMAP.c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Network, NfHook, TableKind};
use crate::value::host_and_length;

/// The `NETMAP` target: on the destination in PREROUTING and OUTPUT, else on the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Netmap {
    /// `--to`. Its mask has no holes: the tool takes one that has for a single address, and here it is
    /// refused.
    pub to: Network,
}

static TO: Opt<Network> = Opt::new(&["to"], to);

impl Extension for Netmap {
    const NAME: &'static str = "NETMAP";
    const TABLES: &'static [TableKind] = &[TableKind::Nat];
    const OPTIONS: &'static [&'static OptionSpec] = &[&TO.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let to = arguments.need(&TO)?.value.value;
        Ok(Self { to })
    }

    fn hooks(&self) -> &'static [NfHook] {
        TableKind::Nat.hooks()
    }

    fn print(&self, line: &mut Line) {
        line.word("--to");
        line.word(self.to);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(format_args!("to:{}", self.to));
    }
}

fn to(value: &Value<'_>) -> Result<Network, Problem> {
    let (address, length) = host_and_length(value.word(0), value.rule.family)?;
    let length = u32::from(length);
    Ok(match address {
        IpAddr::V4(address) => {
            let mask = !u32::MAX.checked_shr(length).unwrap_or(0);
            Network::V4 {
                address: Ipv4Addr::from_bits(address.to_bits() & mask),
                mask: Ipv4Addr::from_bits(mask),
            }
        }
        IpAddr::V6(address) => {
            let mask = !u128::MAX.checked_shr(length).unwrap_or(0);
            Network::V6 {
                address: Ipv6Addr::from_bits(address.to_bits() & mask),
                mask: Ipv6Addr::from_bits(mask),
            }
        }
    })
}
