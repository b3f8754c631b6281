//! `-m iprange`: addresses between two others (libxt_iprange, xt_iprange.c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bstr::ByteSlice;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::{Inet, Line};
use crate::ruleset::{Family, Negatable};
use crate::value::{numeric_v4, numeric_v6};

/// The `iprange` match. At least one of the two is there, and both must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IpRange {
    /// `--src-range`
    pub source: Option<Negatable<AddressRange>>,
    /// `--dst-range`
    pub destination: Option<Negatable<AddressRange>>,
}

/// The addresses from one to another, both included, compared as numbers. `low > high` holds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum AddressRange {
    /// IPv4.
    V4 {
        /// First address.
        low: Ipv4Addr,
        /// Last address.
        high: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// First address.
        low: Ipv6Addr,
        /// Last address.
        high: Ipv6Addr,
    },
}

static SOURCE: Opt<AddressRange> = Opt::new(&["src-range"], range).invertible();
static DESTINATION: Opt<AddressRange> = Opt::new(&["dst-range"], range).invertible();

impl Extension for IpRange {
    const NAME: &'static str = "iprange";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SOURCE.spec, &DESTINATION.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let source = arguments.get(&SOURCE)?;
        let destination = arguments.get(&DESTINATION)?;
        if source.is_none() && destination.is_none() {
            return Err(Diagnostic::error(
                code::MISSING_OPTION,
                arguments.span,
                "no range is given",
            )
            .usage("iprange match: You must specify `--src-range' or `--dst-range'")
            .with_help("add --src-range or --dst-range"));
        }
        Ok(Self {
            source,
            destination,
        })
    }

    fn print(&self, line: &mut Line) {
        for (option, range) in [
            ("--src-range", &self.source),
            ("--dst-range", &self.destination),
        ] {
            if let Some(range) = range {
                let (low, high) = range.value.value.ends();
                line.option(range.negated, option);
                line.word(format!("{}-{}", Inet(low), Inet(high)));
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        for (name, range) in [
            ("source IP range", &self.source),
            ("destination IP range", &self.destination),
        ] {
            if let Some(range) = range {
                let (low, high) = range.value.value.ends();
                line.word(name);
                if range.negated {
                    line.word("!");
                }
                line.word(format_args!("{}-{}", Inet(low), Inet(high)));
            }
        }
    }
}

impl AddressRange {
    fn ends(self) -> (IpAddr, IpAddr) {
        match self {
            Self::V4 { low, high } => (low.into(), high.into()),
            Self::V6 { low, high } => (low.into(), high.into()),
        }
    }
}

/// `address[-address]`
fn range(value: &Value<'_>) -> Result<AddressRange, Problem> {
    let word = value.word(0);
    let (low, high) = word.split_once_str("-").unwrap_or((word, word));
    let range = || -> Result<AddressRange, Problem> {
        Ok(match value.rule.family {
            Family::V4 => AddressRange::V4 {
                low: numeric_v4(low)?,
                high: numeric_v4(high)?,
            },
            Family::V6 => AddressRange::V6 {
                low: numeric_v6(low)?,
                high: numeric_v6(high)?,
            },
        })
    };
    range().map_err(|problem| match word.contains(&b'/') {
        true => problem.with_help("write FIRST-LAST, or use -s or -d for a network"),
        false => problem,
    })
}
