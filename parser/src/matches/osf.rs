//! `-m osf`: the operating system that a TCP SYN looks to come from (libxt_osf, xt_osf.c).

use bstr::BString;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Family, Negatable, NfHook};
use crate::value::integer;

/// The `osf` match. The fingerprints are loaded into the kernel by nfnl_osf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Osf {
    /// `--genre`: the name of a system in the fingerprints, at most 31 bytes.
    pub genre: Negatable<BString>,
    /// `--ttl`; the kernel compares as with [`Ttl::Equal`] without it.
    pub ttl: Option<Ttl>,
    /// `--log`
    pub log: Option<OsfLog>,
}

/// How the TTL takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ttl {
    /// 0: it is that of the fingerprint, as within one network.
    Equal,
    /// 1: it is not greater than that of the fingerprint.
    NotGreater,
    /// 2: it is not looked at.
    Any,
}

/// What goes into the kernel log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OsfLog {
    /// 0: every signature, known or not.
    All,
    /// 1: the first that fits.
    First,
    /// 2: every known one that fits.
    Known,
}

/// `MAXGENRELEN` less the NUL.
const LIMIT: usize = 31;
const PROTOCOL_TCP: u8 = 6;

static GENRE: Opt<BString> = Opt::new(&["genre"], |value| Ok(value.word(0).into())).invertible();
static TTL: Opt<Ttl> = Opt::new(&["ttl"], |value| {
    level(value, [Ttl::Equal, Ttl::NotGreater, Ttl::Any])
});
static LOG: Opt<OsfLog> = Opt::new(&["log"], |value| {
    level(value, [OsfLog::All, OsfLog::First, OsfLog::Known])
});

impl Extension for Osf {
    const NAME: &'static str = "osf";
    const FAMILY: Option<Family> = Some(Family::V4);
    const OPTIONS: &'static [&'static OptionSpec] = &[&GENRE.spec, &TTL.spec, &LOG.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?;
        let given = arguments.need(&GENRE)?;
        let genre = Negatable {
            negated: given.negated,
            value: arguments.cut(given.value, LIMIT),
        };
        let ttl = arguments.get(&TTL)?.map(|given| given.value.value);
        let log = arguments.get(&LOG)?.map(|given| given.value.value);
        Ok(Self { genre, ttl, log })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting, NfHook::Input, NfHook::Forward]
    }

    fn print(&self, line: &mut Line) {
        line.option(self.genre.negated, "--genre");
        line.raw(&self.genre.value.value);
        if let Some(ttl) = self.ttl {
            line.word("--ttl");
            line.word(ttl as u8);
        }
        if let Some(log) = self.log {
            line.word("--log");
            line.word(log as u8);
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let negation = if self.genre.negated { "! " } else { "" };
        line.word(format_args!(
            "OS fingerprint match {negation}{}",
            self.genre.value.value
        ));
    }
}

/// A number that chooses among three.
fn level<T: Copy>(value: &Value<'_>, levels: [T; 3]) -> Result<T, Problem> {
    integer(value.word(0), 2)
        .and_then(|level| levels.get(usize::try_from(level).ok()?).copied())
        .ok_or_else(|| Problem::new("this is a number from 0 to 2"))
}
