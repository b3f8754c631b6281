//! `-j DNAT`: the destination of a connection's packets is rewritten (libxt_NAT, xt_nat.c).

use serde::Serialize;

use super::nat_range::list_range;
use super::nat_range::{NatRange, need_ports};
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{NfHook, TableKind};

/// The `DNAT` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dnat {
    /// `--to-destination`
    pub to: NatRange,
    /// `--random`: ports are chosen at random.
    pub random: bool,
    /// `--persistent`: a client gets the same address for all its connections.
    pub persistent: bool,
}

static TO: Opt<NatRange> = Opt::new(&["to-destination"], NatRange::read);
static RANDOM: Opt<()> = switch(&["random"]);
static PERSISTENT: Opt<()> = switch(&["persistent"]);

impl Dnat {
    fn print_flags(&self, line: &mut Line) {
        if self.random {
            line.word("--random");
        }
        if self.persistent {
            line.word("--persistent");
        }
    }
}

impl Extension for Dnat {
    const NAME: &'static str = "DNAT";
    const TABLES: &'static [TableKind] = &[TableKind::Nat];
    const OPTIONS: &'static [&'static OptionSpec] = &[&TO.spec, &RANDOM.spec, &PERSISTENT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let to = arguments.need(&TO)?.value;
        if to.value.ports.is_some() {
            need_ports(arguments, to.span)?;
        }
        Ok(Self {
            to: to.value,
            random: arguments.has(&RANDOM),
            persistent: arguments.has(&PERSISTENT),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting, NfHook::Output]
    }

    fn print(&self, line: &mut Line) {
        line.word("--to-destination");
        line.word(self.to);
        self.print_flags(line);
    }

    fn list(&self, line: &mut Listing<'_>) {
        list_range(line, &self.to);
        line.undashed(|line| self.print_flags(line));
    }
}
