//! `-j REDIRECT`: the destination of a connection's packets becomes this host (libxt_NAT,
//! xt_REDIRECT.c).

use serde::Serialize;

use super::nat_range::{NatPorts, need_ports};
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{NfHook, TableKind};

/// The `REDIRECT` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// `--to-ports`, without a base.
    pub ports: Option<NatPorts>,
    /// `--random`: ports are chosen at random.
    pub random: bool,
}

static TO_PORTS: Opt<NatPorts> = Opt::new(&["to-ports"], |value| {
    NatPorts::read(value.word(0), value.rule)
});
static RANDOM: Opt<()> = switch(&["random"]);

impl Extension for Redirect {
    const NAME: &'static str = "REDIRECT";
    const TABLES: &'static [TableKind] = &[TableKind::Nat];
    const OPTIONS: &'static [&'static OptionSpec] = &[&TO_PORTS.spec, &RANDOM.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let ports = arguments.get(&TO_PORTS)?.map(|given| given.value);
        if let Some(ports) = &ports {
            need_ports(arguments, ports.span)?;
            if ports.value.base.is_some() {
                let message = "REDIRECT cannot shift a range of ports";
                return Err(Diagnostic::error(code::BAD_VALUE, ports.span, message)
                    .with_help("leave out what stands behind the slash, or use DNAT"));
            }
        }
        Ok(Self {
            ports: ports.map(|ports| ports.value),
            random: arguments.has(&RANDOM),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting, NfHook::Output]
    }

    fn print(&self, line: &mut Line) {
        if let Some(ports) = &self.ports {
            line.word("--to-ports");
            line.word(ports);
        }
        if self.random {
            line.word("--random");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        if let Some(ports) = &self.ports {
            line.word(format_args!("redir ports {ports}"));
        }
        if self.random {
            line.word("random");
        }
    }
}
