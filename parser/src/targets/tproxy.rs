//! `-j TPROXY`: the packet goes to a local socket although it is for another host (libxt_TPROXY,
//! xt_TPROXY.c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use super::mark_change::MarkChange;
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::matches::Masked;
use crate::print::{Inet, Line};
use crate::ruleset::{Family, NfHook, TableKind};
use crate::value::{host, masked};

/// The `TPROXY` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tproxy {
    /// `--on-port`, host byte order; 0 for the packet's own.
    pub port: u16,
    /// `--on-ip`; unspecified for that of the interface.
    pub address: IpAddr,
    /// `--tproxy-mark`, which is not changed unless told.
    pub mark: MarkChange,
}

/// TCP and UDP.
const PROTOCOLS: [u8; 2] = [6, 17];

static PORT: Opt<u64> = Opt::new(&["on-port"], port);
static ADDRESS: Opt<IpAddr> = Opt::new(&["on-ip"], |value| host(value.word(0), value.rule.family));
static MARK: Opt<MarkChange> = Opt::new(&["tproxy-mark"], |value| {
    let Masked { value, mask } = masked(value.word(0))?;
    Ok(MarkChange { value, mask })
});

impl Extension for Tproxy {
    const NAME: &'static str = "TPROXY";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle];
    const OPTIONS: &'static [&'static OptionSpec] = &[&PORT.spec, &ADDRESS.spec, &MARK.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&PORT)?;
        arguments.need_protocol(&PROTOCOLS, "-p tcp or -p udp")?;
        let any = match arguments.rule.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let unchanged = MarkChange { value: 0, mask: 0 };
        Ok(Self {
            port: arguments.number(&PORT, 0xffff)?.unwrap_or_default(),
            address: arguments
                .get(&ADDRESS)?
                .map_or(any, |given| given.value.value),
            mark: arguments
                .get(&MARK)?
                .map_or(unchanged, |given| given.value.value),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting]
    }

    fn print(&self, line: &mut Line) {
        line.word(format!("--on-port {}", self.port));
        line.word(format!("--on-ip {}", Inet(self.address)));
        let MarkChange { value, mask } = self.mark;
        line.word(format!("--tproxy-mark {value:#x}/{mask:#x}"));
    }

    fn list(&self, line: &mut Listing<'_>) {
        let MarkChange { value, mask } = self.mark;
        let address = Inet(self.address);
        line.word(format_args!(
            "TPROXY redirect {address}:{} mark {value:#x}/{mask:#x}",
            self.port
        ));
    }
}

/// A service or a decimal number, as `getaddrinfo` takes it: it does not ask whether the number fits.
fn port(value: &Value<'_>) -> Result<u64, Problem> {
    let word = value.word(0);
    let digits = word.trim_start();
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    let number = match digits {
        b"" => Some(0),
        digits if digits.iter().all(u8::is_ascii_digit) => {
            digits.to_str().ok().and_then(|text| text.parse().ok())
        }
        _ => value.rule.names.service(word).map(u64::from),
    };
    number.ok_or_else(|| {
        Problem::new(format!(
            "{:?} is no port number or known service",
            BStr::new(word)
        ))
        .with_help("write a decimal number from 0 to 65535")
    })
}
