//! `-j DNPT`: the prefix of an IPv6 destination address is replaced without connection tracking
//! (libip6t_DNPT, ip6t_NPT.c).

use serde::Serialize;

use super::npt::{self, Prefixes};
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Family, NfHook, TableKind};

/// The `DNPT` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Dnpt {
    /// What is replaced by what.
    #[serde(flatten)]
    pub prefixes: Prefixes,
}

impl Extension for Dnpt {
    const NAME: &'static str = "DNPT";
    const FAMILY: Option<Family> = Some(Family::V6);
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &npt::OPTIONS;

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let prefixes = Prefixes::read(arguments)?;
        Ok(Self { prefixes })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting, NfHook::Output]
    }

    fn print(&self, line: &mut Line) {
        self.prefixes.print(line);
    }

    fn list(&self, line: &mut Listing<'_>) {
        let Prefixes { from, to } = &self.prefixes;
        line.word(format_args!("DNPT src-pfx {from} dst-pfx {to}"));
    }
}
