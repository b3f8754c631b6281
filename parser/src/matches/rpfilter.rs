//! `-m rpfilter`: whether the answer to a packet would leave where the packet came in
//! (libxt_rpfilter, ipt_rpfilter.c, ip6t_rpfilter.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{NfHook, TableKind};

/// The `rpfilter` match: true for packets that pass the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rpfilter {
    /// `--loose`: a route back through any interface will do.
    pub loose: bool,
    /// `--validmark`: the packet's mark takes part in the route lookup.
    pub valid_mark: bool,
    /// `--accept-local`: the source may be an address of this host.
    pub accept_local: bool,
    /// `--invert`: true for packets that fail the test.
    pub invert: bool,
}

static LOOSE: Opt<()> = switch(&["loose"]);
static VALID_MARK: Opt<()> = switch(&["validmark"]);
static ACCEPT_LOCAL: Opt<()> = switch(&["accept-local"]);
static INVERT: Opt<()> = switch(&["invert"]);

impl Extension for Rpfilter {
    const NAME: &'static str = "rpfilter";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &LOOSE.spec,
        &VALID_MARK.spec,
        &ACCEPT_LOCAL.spec,
        &INVERT.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let table = arguments.rule.table;
        if !matches!(table, TableKind::Raw | TableKind::Mangle) {
            let message = format!("rpfilter cannot stand in the {table} table");
            return Err(Diagnostic::error(code::MISPLACED, arguments.span, message)
                .with_help("use it in PREROUTING of raw or mangle"));
        }
        Ok(Self {
            loose: arguments.has(&LOOSE),
            valid_mark: arguments.has(&VALID_MARK),
            accept_local: arguments.has(&ACCEPT_LOCAL),
            invert: arguments.has(&INVERT),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting]
    }

    fn print(&self, line: &mut Line) {
        for (is_set, option) in [
            (self.loose, "--loose"),
            (self.valid_mark, "--validmark"),
            (self.accept_local, "--accept-local"),
            (self.invert, "--invert"),
        ] {
            if is_set {
                line.word(option);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("rpfilter");
        line.undashed(|line| self.print(line));
    }
}
