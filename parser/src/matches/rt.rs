//! `-m rt`: the routing header of IPv6 packets (libip6t_rt, ip6t_rt.c).

use std::net::Ipv6Addr;

use bstr::ByteSlice;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::{Listing, sign};
use crate::print::{Inet, Line};
use crate::range::{self, Range};
use crate::ruleset::{Family, Negatable};
use crate::value::{self, number_of, numeric_v6};

/// The `rt` match. All that is given must hold for the first routing header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rt {
    /// `--rt-type`, of which the packet has eight bits.
    pub kind: Option<Negatable<u32>>,
    /// `--rt-segsleft`, of which the packet has eight bits; everything when it is not given.
    pub segments_left: Negatable<Range<u32>>,
    /// `--rt-len`: bytes of the header.
    pub length: Option<Negatable<u32>>,
    /// `--rt-0-res`: the reserved field is zero; only with type 0.
    pub reserved: bool,
    /// `--rt-0-addrs`; only with type 0.
    pub addresses: Option<Addresses>,
}

/// Addresses that the header holds in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// 1 to 16.
    pub list: Vec<Ipv6Addr>,
    /// `--rt-0-not-strict` is absent: the header holds them one behind the other and no more.
    pub strict: bool,
}

/// `IP6T_RT_HOPS`
const LIMIT: usize = 16;

static KIND: Opt<u32> = Opt::new(&["rt-type"], |value| number_of(value.word(0))).invertible();
static SEGMENTS_LEFT: Opt<Range<u32>> =
    Opt::new(&["rt-segsleft"], |value| value::range(value.word(0))).invertible();
static LENGTH: Opt<u32> = Opt::new(&["rt-len"], |value| number_of(value.word(0))).invertible();
static RESERVED: Opt<()> = switch(&["rt-0-res"]);
static ADDRESSES: Opt<Vec<Ipv6Addr>> = Opt::new(&["rt-0-addrs"], addresses);
static NOT_STRICT: Opt<()> = switch(&["rt-0-not-strict"]);

impl Extension for Rt {
    const NAME: &'static str = "rt";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &KIND.spec,
        &SEGMENTS_LEFT.spec,
        &LENGTH.spec,
        &RESERVED.spec,
        &ADDRESSES.spec,
        &NOT_STRICT.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let kind = arguments.get(&KIND)?;
        let is_type_0 = kind
            .as_ref()
            .is_some_and(|it| !it.negated && it.value.value == 0);
        for spec in [&RESERVED.spec, &ADDRESSES.spec] {
            if let Some(given) = arguments.find(spec)
                && !(is_type_0 && arguments.are_in_order(&KIND.spec, spec))
            {
                let message = format!("--{} needs --rt-type 0 before it", spec.name());
                return Err(Diagnostic::error(code::MISSING_OPTION, given.span, message));
            }
        }
        if let Some(given) = arguments.find(&NOT_STRICT.spec)
            && !arguments.are_in_order(&ADDRESSES.spec, &NOT_STRICT.spec)
        {
            let message = "--rt-0-not-strict needs --rt-0-addrs before it";
            return Err(Diagnostic::error(code::MISSING_OPTION, given.span, message));
        }
        let addresses = arguments.get(&ADDRESSES)?.map(|given| Addresses {
            list: given.value.value,
            strict: !arguments.has(&NOT_STRICT),
        });
        Ok(Self {
            kind,
            segments_left: range::read(arguments, &SEGMENTS_LEFT, Range::EVERYTHING)?,
            length: arguments.get(&LENGTH)?,
            reserved: arguments.has(&RESERVED),
            addresses,
        })
    }

    fn print(&self, line: &mut Line) {
        if let Some(kind) = &self.kind {
            line.option(kind.negated, "--rt-type");
            line.word(kind.value.value);
        }
        range::print(line, "--rt-segsleft", &self.segments_left);
        if let Some(length) = &self.length {
            line.option(length.negated, "--rt-len");
            line.word(length.value.value);
        }
        if self.reserved {
            line.word("--rt-0-res");
        }
        if let Some(addresses) = &self.addresses {
            let list = addresses.list.iter();
            let list: Vec<String> = list.map(|&it| Inet(it.into()).to_string()).collect();
            line.word("--rt-0-addrs");
            line.word(list.join(","));
            if !addresses.strict {
                line.word("--rt-0-not-strict");
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("rt");
        if let Some(kind) = &self.kind {
            line.word(format_args!(
                "type:{}{}",
                sign(kind.negated),
                kind.value.value
            ));
        }
        line.range("segsleft", &self.segments_left);
        if let Some(length) = &self.length {
            line.word(format_args!(
                "length:{}{}",
                sign(length.negated),
                length.value.value
            ));
        }
        if self.reserved {
            line.word("reserved");
        }
        if let Some(addresses) = &self.addresses {
            let list = addresses.list.iter();
            let list: Vec<String> = list.map(|&it| Inet(it.into()).to_string()).collect();
            line.word(format_args!("0-addrs {}", list.join(",")));
            if !addresses.strict {
                line.word("0-not-strict");
            }
        }
    }
}

/// Addresses between commas.
fn addresses(value: &Value<'_>) -> Result<Vec<Ipv6Addr>, Problem> {
    let words = value.word(0).split_str(",");
    let list = words.map(numeric_v6).collect::<Result<Vec<_>, _>>()?;
    if list.len() > LIMIT {
        let message = format!("{} addresses are too many", list.len());
        return Err(Problem::new(message).with_help(format!("a routing match holds {LIMIT}")));
    }
    Ok(list)
}
