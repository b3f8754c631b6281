//! `-m ecn`: explicit congestion notification (RFC 3168; libxt_ecn, xt_ecn.c).

use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, switch};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::integer;

/// The `ecn` match. An option that is absent does not test; one at least is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ecn {
    /// `--ecn-tcp-ece`: the ECE bit of the TCP header, 0x40 of byte 13.
    pub tcp_ece: Option<Negatable<()>>,
    /// `--ecn-tcp-cwr`: the CWR bit of the TCP header, 0x80 of byte 13.
    pub tcp_cwr: Option<Negatable<()>>,
    /// `--ecn-ip-ect`: the two low bits of the type of service or traffic class, 0 to 3.
    pub ip_ect: Option<Negatable<u8>>,
}

const PROTOCOL_TCP: u8 = 6;

static TCP_ECE: Opt<()> = switch(&["ecn-tcp-ece"]).invertible();
static TCP_CWR: Opt<()> = switch(&["ecn-tcp-cwr"]).invertible();
static IP_ECT: Opt<u8> = Opt::new(&["ecn-ip-ect"], |value| {
    integer(value.word(0), 3)
        .and_then(|bits| u8::try_from(bits).ok())
        .ok_or_else(|| Problem::new("an ECN codepoint is a number from 0 to 3"))
})
.invertible();

impl Extension for Ecn {
    const NAME: &'static str = "ecn";
    const OPTIONS: &'static [&'static OptionSpec] = &[&TCP_CWR.spec, &TCP_ECE.spec, &IP_ECT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let ecn = Self {
            tcp_ece: arguments.get(&TCP_ECE)?,
            tcp_cwr: arguments.get(&TCP_CWR)?,
            ip_ect: arguments.get(&IP_ECT)?,
        };
        match &ecn {
            Self {
                tcp_ece: None,
                tcp_cwr: None,
                ip_ect: None,
            } => {
                let message = "no test is given";
                return Err(
                    Diagnostic::error(code::MISSING_OPTION, arguments.span, message)
                        .with_help("add --ecn-tcp-cwr, --ecn-tcp-ece or --ecn-ip-ect"),
                );
            }
            Self {
                tcp_ece: None,
                tcp_cwr: None,
                ip_ect: Some(_),
            } => {}
            _ => arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?,
        }
        Ok(ecn)
    }

    fn print(&self, line: &mut Line) {
        if let Some(bit) = &self.tcp_ece {
            line.option(bit.negated, "--ecn-tcp-ece");
        }
        if let Some(bit) = &self.tcp_cwr {
            line.option(bit.negated, "--ecn-tcp-cwr");
        }
        if let Some(bits) = &self.ip_ect {
            line.option(bits.negated, "--ecn-ip-ect");
            line.word(bits.value.value);
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("ECN match");
        if let Some(bit) = &self.tcp_ece {
            line.word(format_args!("{}ECE", sign(bit.negated)));
        }
        if let Some(bit) = &self.tcp_cwr {
            line.word(format_args!("{}CWR", sign(bit.negated)));
        }
        if let Some(bits) = &self.ip_ect {
            line.word(format_args!(
                "{}ECT={}",
                sign(bits.negated),
                bits.value.value
            ));
        }
    }
}
