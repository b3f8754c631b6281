//! `-j SNAT`: the source of a connection's packets is rewritten (libxt_NAT, xt_nat.c).

use serde::Serialize;

use super::nat_range::list_range;
use super::nat_range::{NatPorts, NatRange, need_ports};
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{NfHook, TableKind};

/// The `SNAT` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Snat {
    /// `--to-source`. A base of its ports is always zero.
    pub to: NatRange,
    /// `--random`: ports are chosen by a hash.
    pub random: bool,
    /// `--random-fully`: ports are chosen at random.
    pub random_fully: bool,
    /// `--persistent`: a client gets the same address for all its connections.
    pub persistent: bool,
}

static TO: Opt<NatRange> = Opt::new(&["to-source"], |value| {
    let range = NatRange::read(value)?;
    Ok(NatRange {
        ports: range.ports.map(NatPorts::without_base),
        ..range
    })
});
static RANDOM: Opt<()> = switch(&["random"]);
static RANDOM_FULLY: Opt<()> = switch(&["random-fully"]);
static PERSISTENT: Opt<()> = switch(&["persistent"]);

impl Snat {
    fn print_flags(&self, line: &mut Line) {
        for (is_set, option) in [
            (self.random, "--random"),
            (self.random_fully, "--random-fully"),
            (self.persistent, "--persistent"),
        ] {
            if is_set {
                line.word(option);
            }
        }
    }
}

impl Extension for Snat {
    const NAME: &'static str = "SNAT";
    const TABLES: &'static [TableKind] = &[TableKind::Nat];
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&TO.spec, &RANDOM.spec, &RANDOM_FULLY.spec, &PERSISTENT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let to = arguments.need(&TO)?.value;
        if to.value.ports.is_some() {
            need_ports(arguments, to.span)?;
        }
        Ok(Self {
            to: to.value,
            random: arguments.has(&RANDOM),
            random_fully: arguments.has(&RANDOM_FULLY),
            persistent: arguments.has(&PERSISTENT),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Input, NfHook::Postrouting]
    }

    fn print(&self, line: &mut Line) {
        line.word("--to-source");
        line.word(self.to);
        self.print_flags(line);
    }

    fn list(&self, line: &mut Listing<'_>) {
        list_range(line, &self.to);
        line.undashed(|line| self.print_flags(line));
    }
}
