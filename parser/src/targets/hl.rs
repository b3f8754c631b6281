//! `-j HL`: the hop limit of an IPv6 packet is changed; the packet goes on (libip6t_HL, xt_HL.c).

use serde::Serialize;

use super::hop_limit::{HopLimit, Options, limit, step};
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Family, TableKind};

/// The `HL` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hl {
    /// What becomes of the hop limit.
    #[serde(flatten)]
    pub change: HopLimit,
}

static SET: Opt<u8> = Opt::new(&["hl-set"], limit);
static INCREMENT: Opt<u8> = Opt::new(&["hl-inc"], step);
static DECREMENT: Opt<u8> = Opt::new(&["hl-dec"], step);
const CHANGES: Options = [&SET, &INCREMENT, &DECREMENT];

impl Extension for Hl {
    const NAME: &'static str = "HL";
    const FAMILY: Option<Family> = Some(Family::V6);
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &[&SET.spec, &INCREMENT.spec, &DECREMENT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let change = HopLimit::read(arguments, CHANGES)?;
        Ok(Self { change })
    }

    fn print(&self, line: &mut Line) {
        self.change.print(line, CHANGES);
    }

    fn list(&self, line: &mut Listing<'_>) {
        self.change.list(line, "HL");
    }
}
