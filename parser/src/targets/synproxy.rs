//! `-j SYNPROXY`: this host answers a SYN itself and opens the connection when the handshake is
//! complete (libxt_SYNPROXY, nf_synproxy_core.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::NfHook;
use crate::value::ranged;

/// The `SYNPROXY` target: what the server can do, which this host promises the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Synproxy {
    /// `--sack-perm`: selective acknowledgements.
    pub sack: bool,
    /// `--timestamp`
    pub timestamp: bool,
    /// `--wscale`, the window scale.
    pub window_scale: Option<u8>,
    /// `--mss`, bytes.
    pub mss: Option<u16>,
    /// `--ecn`: explicit congestion notification.
    pub ecn: bool,
}

const PROTOCOL_TCP: u8 = 6;

static SACK: Opt<()> = switch(&["sack-perm"]);
static TIMESTAMP: Opt<()> = switch(&["timestamp"]);
static WINDOW_SCALE: Opt<u64> = Opt::new(&["wscale"], number);
static MSS: Opt<u64> = Opt::new(&["mss"], number);
static ECN: Opt<()> = switch(&["ecn"]);

impl Extension for Synproxy {
    const NAME: &'static str = "SYNPROXY";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &SACK.spec,
        &TIMESTAMP.spec,
        &WINDOW_SCALE.spec,
        &MSS.spec,
        &ECN.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?;
        Ok(Self {
            sack: arguments.has(&SACK),
            timestamp: arguments.has(&TIMESTAMP),
            window_scale: arguments.number(&WINDOW_SCALE, 0xff)?,
            mss: arguments.number(&MSS, 0xffff)?,
            ecn: arguments.has(&ECN),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Input, NfHook::Forward]
    }

    fn print(&self, line: &mut Line) {
        if self.sack {
            line.word("--sack-perm");
        }
        if self.timestamp {
            line.word("--timestamp");
        }
        if let Some(scale) = self.window_scale {
            line.word(format!("--wscale {scale}"));
        }
        if let Some(mss) = self.mss {
            line.word(format!("--mss {mss}"));
        }
        if self.ecn {
            line.word("--ecn");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("SYNPROXY");
        line.undashed(|line| self.print(line));
        line.put(" ");
    }
}

fn number(value: &Value<'_>) -> Result<u64, Problem> {
    ranged(value.word(0), 0..=0xffff_ffff)
}
