//! `-m physdev`: the bridge ports of a packet (libxt_physdev, xt_physdev.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{InterfacePattern, Negatable, NfHook};
use crate::value::interface;

/// The `physdev` match. At least one of its tests is there, and all must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Physdev {
    /// `--physdev-is-in`: it came in through a bridge port.
    pub is_in: Option<Negatable<()>>,
    /// `--physdev-in`: the port it came in through.
    pub in_port: Option<Negatable<InterfacePattern>>,
    /// `--physdev-is-out`: it leaves through a bridge port.
    pub is_out: Option<Negatable<()>>,
    /// `--physdev-out`: the port it leaves through.
    pub out_port: Option<Negatable<InterfacePattern>>,
    /// `--physdev-is-bridged`: it is bridged, not routed.
    pub is_bridged: Option<Negatable<()>>,
}

static IS_IN: Opt<()> = switch(&["physdev-is-in"]).invertible();
static IN: Opt<InterfacePattern> = Opt::new(&["physdev-in"], port).invertible();
static IS_OUT: Opt<()> = switch(&["physdev-is-out"]).invertible();
static OUT: Opt<InterfacePattern> = Opt::new(&["physdev-out"], port).invertible();
static IS_BRIDGED: Opt<()> = switch(&["physdev-is-bridged"]).invertible();

impl Extension for Physdev {
    const NAME: &'static str = "physdev";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &IS_IN.spec,
        &IN.spec,
        &IS_OUT.spec,
        &OUT.spec,
        &IS_BRIDGED.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        if arguments.given.is_empty() {
            let message = "physdev tests nothing without an option";
            return Err(
                Diagnostic::error(code::MISSING_OPTION, arguments.span, message)
                    .with_help("add --physdev-in, --physdev-out or another"),
            );
        }
        Ok(Self {
            is_in: arguments.get(&IS_IN)?,
            in_port: arguments.get(&IN)?,
            is_out: arguments.get(&IS_OUT)?,
            out_port: arguments.get(&OUT)?,
            is_bridged: arguments.get(&IS_BRIDGED)?,
        })
    }

    /// Where a packet of this host leaves is known too late for OUTPUT, unless it is bridged.
    fn hooks(&self) -> &'static [NfHook] {
        let is_bridged = self.is_bridged.as_ref().is_some_and(|it| !it.negated);
        if (self.is_out.is_some() || self.out_port.is_some()) && !is_bridged {
            &[
                NfHook::Prerouting,
                NfHook::Input,
                NfHook::Forward,
                NfHook::Postrouting,
            ]
        } else {
            &NfHook::ALL
        }
    }

    fn print(&self, line: &mut Line) {
        print_switch(line, "--physdev-is-in", &self.is_in);
        print_port(line, "--physdev-in", &self.in_port);
        print_switch(line, "--physdev-is-out", &self.is_out);
        print_port(line, "--physdev-out", &self.out_port);
        print_switch(line, "--physdev-is-bridged", &self.is_bridged);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("PHYSDEV match");
        line.saved(|line| self.print(line));
    }
}

fn print_switch(line: &mut Line, option: &str, test: &Option<Negatable<()>>) {
    if let Some(test) = test {
        line.option(test.negated, option);
    }
}

fn print_port(line: &mut Line, option: &str, port: &Option<Negatable<InterfacePattern>>) {
    if let Some(port) = port {
        line.option(port.negated, option);
        line.raw(port.value.value.to_string().as_bytes());
    }
}

fn port(value: &Value<'_>) -> Result<InterfacePattern, Problem> {
    interface(value.word(0))
}
