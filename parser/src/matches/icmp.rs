//! `-m icmp` and `-m icmp6`: type and code (libipt_icmp, libip6t_icmp6, xt_tcpudp.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::{Listing, sign};
use crate::names::closest;
use crate::print::Line;
use crate::ruleset::Family;
use crate::ruleset::Negatable;
use crate::value::{byte_range, is_prefix_of};
use bstr::{BStr, ByteSlice};

/// A type with a range of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TypeCode {
    /// The message type.
    pub kind: u8,
    /// The least code.
    pub code_low: u8,
    /// The greatest code.
    pub code_high: u8,
}

/// The `icmp` match. Type 255 means any (`--icmp-type any`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Icmp(pub Negatable<TypeCode>);

/// The `icmp6` match. Type 255 is just type 255.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Icmp6(pub Negatable<TypeCode>);

static ICMP_TYPE: Opt<TypeCode> =
    Opt::new(&["icmp-type"], |value| type_code(value.word(0), ICMP_NAMES)).invertible();
static ICMPV6_TYPE: Opt<TypeCode> = Opt::new(&["icmpv6-type"], |value| {
    type_code(value.word(0), ICMPV6_NAMES)
})
.invertible();

/// The number of `--icmp-type any`, which the kernel takes for every type (ICMPv4 only).
const ANY: u8 = 255;

impl Extension for Icmp {
    const NAME: &'static str = "icmp";
    const FAMILY: Option<Family> = Some(Family::V4);
    const OPTIONS: &'static [&'static OptionSpec] = &[&ICMP_TYPE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[1], "-p icmp")?;
        arguments.need(&ICMP_TYPE).map(Self)
    }

    fn print(&self, line: &mut Line) {
        line.option(self.0.negated, "--icmp-type");
        match self.0.value.value {
            TypeCode { kind: ANY, .. } => line.word("any"),
            other => line.word(other.save()),
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        list_type(line, "icmp", &self.0, ICMP_NAMES);
    }
}

impl Extension for Icmp6 {
    const NAME: &'static str = "icmp6";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[&ICMPV6_TYPE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[58], "-p ipv6-icmp")?;
        arguments.need(&ICMPV6_TYPE).map(Self)
    }

    fn print(&self, line: &mut Line) {
        line.option(self.0.negated, "--icmpv6-type");
        line.word(self.0.value.value.save());
    }

    fn list(&self, line: &mut Listing<'_>) {
        list_type(line, "ipv6-icmp", &self.0, ICMPV6_NAMES);
    }
}

impl TypeCode {
    /// The text of save, which shows only the least code of a range.
    fn save(self) -> String {
        match self {
            Self {
                kind,
                code_low: 0,
                code_high: 255,
            } => kind.to_string(),
            Self { kind, code_low, .. } => format!("{kind}/{code_low}"),
        }
    }
}

/// Names where there is one for type and codes.
fn list_type(line: &mut Listing<'_>, protocol: &str, test: &Negatable<TypeCode>, names: &[Name]) {
    let TypeCode {
        kind,
        code_low,
        code_high,
    } = test.value.value;
    let name = names
        .iter()
        .find(|row| (row.1, row.2, row.3) == (kind, code_low, code_high));
    if let Some((name, ..)) = name.filter(|_| !line.style.numeric) {
        return line.word(format_args!("{protocol} {}{name}", sign(test.negated)));
    }
    let negation = if test.negated { " !" } else { "" };
    line.word(format_args!("{protocol}{negation}type {kind}"));
    if code_low == code_high {
        line.word(format_args!("code {code_low}"));
    } else if (code_low, code_high) != (0, 0xff) {
        line.word(format_args!("codes {code_low}-{code_high}"));
    }
}

/// A name by any leading part that fits no other, or `type[/code[:code]]` (libxt_icmp.h).
fn type_code(word: &[u8], names: &[Name]) -> Result<TypeCode, Problem> {
    let mut found = names.iter().filter(|row| is_prefix_of(word, row.0));
    match (found.next(), found.next()) {
        (Some(&(_, kind, code_low, code_high)), None) => {
            return Ok(TypeCode {
                kind,
                code_low,
                code_high,
            });
        }
        (Some(first), Some(second)) => {
            return Err(Problem::new(format!(
                "{:?} may mean {} or {}",
                BStr::new(word),
                first.0,
                second.0
            ))
            .with_help("write the whole name"));
        }
        _ => {}
    }
    let bad = || {
        let problem = Problem::new(format!("{:?} is no ICMP type", BStr::new(word)))
            .usage(format!("Unknown ICMP type `{}'", BStr::new(word)));
        match closest(word, names.iter().map(|row| row.0)) {
            Some(name) => problem.with_help(format!("did you mean {name}?")),
            None => {
                problem.with_help("write a name, or a number from 0 to 255, with /code if needed")
            }
        }
    };
    let (kind, code) = match word.split_once_str("/") {
        Some((kind, code)) => (kind, Some(code)),
        None => (word, None),
    };
    let (kind, last) = byte_range(kind).ok_or_else(bad)?;
    if kind != last {
        return Err(Problem::new("a range of types cannot be matched")
            .with_help("use one rule for each type"));
    }
    let (code_low, code_high) = code.map_or(Some((0, 255)), byte_range).ok_or_else(bad)?;
    Ok(TypeCode {
        kind,
        code_low,
        code_high,
    })
}

/// Name, type, least and greatest code.
type Name = (&'static str, u8, u8, u8);

/// The names of libipt_icmp, in its order.
const ICMP_NAMES: &[Name] = &[
    ("any", 255, 0, 255),
    ("echo-reply", 0, 0, 255),
    ("pong", 0, 0, 255),
    ("destination-unreachable", 3, 0, 255),
    ("network-unreachable", 3, 0, 0),
    ("host-unreachable", 3, 1, 1),
    ("protocol-unreachable", 3, 2, 2),
    ("port-unreachable", 3, 3, 3),
    ("fragmentation-needed", 3, 4, 4),
    ("source-route-failed", 3, 5, 5),
    ("network-unknown", 3, 6, 6),
    ("host-unknown", 3, 7, 7),
    ("network-prohibited", 3, 9, 9),
    ("host-prohibited", 3, 10, 10),
    ("TOS-network-unreachable", 3, 11, 11),
    ("TOS-host-unreachable", 3, 12, 12),
    ("communication-prohibited", 3, 13, 13),
    ("host-precedence-violation", 3, 14, 14),
    ("precedence-cutoff", 3, 15, 15),
    ("source-quench", 4, 0, 255),
    ("redirect", 5, 0, 255),
    ("network-redirect", 5, 0, 0),
    ("host-redirect", 5, 1, 1),
    ("TOS-network-redirect", 5, 2, 2),
    ("TOS-host-redirect", 5, 3, 3),
    ("echo-request", 8, 0, 255),
    ("ping", 8, 0, 255),
    ("router-advertisement", 9, 0, 255),
    ("router-solicitation", 10, 0, 255),
    ("time-exceeded", 11, 0, 255),
    ("ttl-exceeded", 11, 0, 255),
    ("ttl-zero-during-transit", 11, 0, 0),
    ("ttl-zero-during-reassembly", 11, 1, 1),
    ("parameter-problem", 12, 0, 255),
    ("ip-header-bad", 12, 0, 0),
    ("required-option-missing", 12, 1, 1),
    ("timestamp-request", 13, 0, 255),
    ("timestamp-reply", 14, 0, 255),
    ("address-mask-request", 17, 0, 255),
    ("address-mask-reply", 18, 0, 255),
];

/// The names of libip6t_icmp6, in its order.
const ICMPV6_NAMES: &[Name] = &[
    ("destination-unreachable", 1, 0, 255),
    ("no-route", 1, 0, 0),
    ("communication-prohibited", 1, 1, 1),
    ("beyond-scope", 1, 2, 2),
    ("address-unreachable", 1, 3, 3),
    ("port-unreachable", 1, 4, 4),
    ("failed-policy", 1, 5, 5),
    ("reject-route", 1, 6, 6),
    ("packet-too-big", 2, 0, 255),
    ("time-exceeded", 3, 0, 255),
    ("ttl-exceeded", 3, 0, 255),
    ("ttl-zero-during-transit", 3, 0, 0),
    ("ttl-zero-during-reassembly", 3, 1, 1),
    ("parameter-problem", 4, 0, 255),
    ("bad-header", 4, 0, 0),
    ("unknown-header-type", 4, 1, 1),
    ("unknown-option", 4, 2, 2),
    ("echo-request", 128, 0, 255),
    ("ping", 128, 0, 255),
    ("echo-reply", 129, 0, 255),
    ("pong", 129, 0, 255),
    ("router-solicitation", 133, 0, 255),
    ("router-advertisement", 134, 0, 255),
    ("neighbour-solicitation", 135, 0, 255),
    ("neighbor-solicitation", 135, 0, 255),
    ("neighbour-advertisement", 136, 0, 255),
    ("neighbor-advertisement", 136, 0, 255),
    ("redirect", 137, 0, 255),
];
