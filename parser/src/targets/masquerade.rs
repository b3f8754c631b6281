//! `-j MASQUERADE`: the source of a connection's packets becomes the address of the interface that
//! they leave by (libxt_NAT, xt_MASQUERADE.c).

use serde::Serialize;

use super::nat_range::{NatPorts, need_ports};
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{NfHook, TableKind};

/// The `MASQUERADE` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Masquerade {
    /// `--to-ports`. A base is always zero.
    pub ports: Option<NatPorts>,
    /// `--random`: ports are chosen by a hash.
    pub random: bool,
    /// `--random-fully`: ports are chosen at random.
    pub random_fully: bool,
}

static TO_PORTS: Opt<NatPorts> = Opt::new(&["to-ports"], |value| {
    NatPorts::read(value.word(0), value.rule).map(NatPorts::without_base)
});
static RANDOM: Opt<()> = switch(&["random"]);
static RANDOM_FULLY: Opt<()> = switch(&["random-fully"]);

impl Extension for Masquerade {
    const NAME: &'static str = "MASQUERADE";
    const TABLES: &'static [TableKind] = &[TableKind::Nat];
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&TO_PORTS.spec, &RANDOM.spec, &RANDOM_FULLY.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let ports = arguments.get(&TO_PORTS)?.map(|given| given.value);
        if let Some(ports) = &ports {
            need_ports(arguments, ports.span)?;
        }
        Ok(Self {
            ports: ports.map(|ports| ports.value),
            random: arguments.has(&RANDOM),
            random_fully: arguments.has(&RANDOM_FULLY),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Postrouting]
    }

    fn print(&self, line: &mut Line) {
        if let Some(ports) = &self.ports {
            line.word("--to-ports");
            line.word(ports);
        }
        if self.random {
            line.word("--random");
        }
        if self.random_fully {
            line.word("--random-fully");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        if let Some(ports) = &self.ports {
            line.word(format_args!("masq ports: {ports}"));
        }
        if self.random {
            line.word("random");
        }
        if self.random_fully {
            line.word("random-fully");
        }
    }
}
