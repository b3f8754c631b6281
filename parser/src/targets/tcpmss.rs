//! `-j TCPMSS`: the largest segment that a SYN announces is made smaller; the packet goes on
//! (libxt_TCPMSS, xt_TCPMSS.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::matches::Match;
use crate::matches::tcp::Flags;
use crate::print::Line;
use crate::ruleset::{Family, NfHook};
use crate::value::ranged;

/// The `TCPMSS` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tcpmss {
    /// `--set-mss`: to this many bytes, unless it is smaller already.
    Set(u16),
    /// `--clamp-mss-to-pmtu`: to what the routes of both directions let through.
    ClampToPmtu,
}

const PROTOCOL_TCP: u8 = 6;
/// `TCPHDR_SYN`
const SYN: u8 = 0x02;
/// `XT_TCPMSS_CLAMP_PMTU`, as a number of bytes.
const CLAMP: u16 = 0xffff;

static SET: Opt<u16> = Opt::new(&["set-mss"], mss);
static CLAMP_TO_PMTU: Opt<()> = switch(&["clamp-mss-to-pmtu"]);

impl Extension for Tcpmss {
    const NAME: &'static str = "TCPMSS";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SET.spec, &CLAMP_TO_PMTU.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let set = arguments.get(&SET)?.map(|given| given.value.value);
        let is_clamped_last = arguments.are_in_order(&SET.spec, &CLAMP_TO_PMTU.spec);
        // Of the two the tool takes the last.
        let tcpmss = match set {
            Some(mss) if !is_clamped_last => Self::Set(mss),
            _ if arguments.has(&CLAMP_TO_PMTU) => Self::ClampToPmtu,
            _ => {
                return Err(arguments
                    .error(code::MISSING_OPTION, "no segment size is given")
                    .with_help("add --clamp-mss-to-pmtu or --set-mss"));
            }
        };
        arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?;
        if arguments
            .rule
            .matches
            .iter()
            .any(|it| is_for_syn(&it.value))
        {
            return Ok(tcpmss);
        }
        Err(arguments
            .error(code::MISPLACED, "TCPMSS works only on SYN packets")
            .with_help("add --tcp-flags SYN,RST SYN"))
    }

    fn hooks(&self) -> &'static [NfHook] {
        match self {
            Self::Set(_) => &NfHook::ALL,
            Self::ClampToPmtu => &[NfHook::Forward, NfHook::Output, NfHook::Postrouting],
        }
    }

    fn print(&self, line: &mut Line) {
        match self {
            Self::Set(mss) => line.word(format!("--set-mss {mss}")),
            Self::ClampToPmtu => line.word("--clamp-mss-to-pmtu"),
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        match self {
            Self::Set(mss) => line.word(format_args!("TCPMSS set {mss}")),
            Self::ClampToPmtu => line.word("TCPMSS clamp to PMTU"),
        }
    }
}

/// Whether a match demands a SYN bit, as the kernel looks for it (xt_TCPMSS.c, `find_syn_match`).
fn is_for_syn(it: &Match) -> bool {
    let Match::Tcp(tcp) = it else {
        return false;
    };
    tcp.flags.as_ref().is_some_and(|flags| {
        let Flags { set, .. } = flags.value.value;
        !flags.negated && set & SYN != 0
    })
}

/// What the longest packet leaves beside its IP header.
fn mss(value: &Value<'_>) -> Result<u16, Problem> {
    let header = match value.rule.family {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    ranged(value.word(0), 0..=u64::from(CLAMP - header))
}
