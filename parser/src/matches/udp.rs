//! `-m udp`: ports (libxt_udp, xt_tcpudp.c).

use serde::Serialize;

use super::{PROTOCOL_UDP, PortRange, print_ports, read_ports};
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::resolved_ports;

/// The `udp` match. An option that is absent does not test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Udp {
    /// `--sport`
    pub source_ports: Option<Negatable<PortRange>>,
    /// `--dport`
    pub destination_ports: Option<Negatable<PortRange>>,
}

static SOURCE_PORTS: Opt<PortRange> = Opt::new(&["source-port", "sport"], |value| {
    resolved_ports(value.word(0), value.rule.names)
})
.invertible();
static DESTINATION_PORTS: Opt<PortRange> = Opt::new(&["destination-port", "dport"], |value| {
    resolved_ports(value.word(0), value.rule.names)
})
.invertible();

impl Extension for Udp {
    const NAME: &'static str = "udp";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SOURCE_PORTS.spec, &DESTINATION_PORTS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_UDP], "-p udp")?;
        let source_ports = read_ports(arguments, &SOURCE_PORTS)?;
        let destination_ports = read_ports(arguments, &DESTINATION_PORTS)?;
        for ports in [&source_ports, &destination_ports].into_iter().flatten() {
            let PortRange { low, high } = ports.value.value;
            if low > high && !ports.negated {
                let message = format!("no port is in {low}:{high}, so this rule never matches");
                arguments.warn(Diagnostic::warning(
                    code::NEVER_MATCHES,
                    ports.value.span,
                    message,
                ));
            }
        }
        Ok(Self {
            source_ports,
            destination_ports,
        })
    }

    fn print(&self, line: &mut Line) {
        print_ports(line, "--sport", &self.source_ports);
        print_ports(line, "--dport", &self.destination_ports);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("udp");
        line.ports("spt", &self.source_ports, PROTOCOL_UDP);
        line.ports("dpt", &self.destination_ports, PROTOCOL_UDP);
    }
}
