//! `-m addrtype`: what routing says of an address (libxt_addrtype, xt_addrtype.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::{Family, Negatable, NfHook};
use crate::value::is_prefix_of;

/// The `addrtype` match. At least one of the two addresses is tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addrtype {
    /// `--src-type`: each type once, in the order of the enum.
    pub source: Option<Negatable<Vec<AddressType>>>,
    /// `--dst-type`: each type once, in the order of the enum.
    pub destination: Option<Negatable<Vec<AddressType>>>,
    /// `--limit-iface-in`, `--limit-iface-out`: only the addresses of this device count.
    pub device: Option<Device>,
}

/// The route types of rtnetlink(7), in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AddressType {
    /// The address `::`; no IPv4 address.
    Unspec,
    /// None of the others.
    Unicast,
    /// An address of this host.
    Local,
    /// A broadcast address (IPv4).
    Broadcast,
    /// An anycast address (IPv6).
    Anycast,
    /// A multicast address.
    Multicast,
    /// A blackhole route (IPv4).
    Blackhole,
    /// An unreachable route.
    Unreachable,
    /// A prohibited route (IPv4).
    Prohibit,
    /// A throw route (IPv4).
    Throw,
    /// A translated address (IPv4).
    Nat,
    /// To be resolved elsewhere (IPv4).
    Xresolve,
}

/// One of the two devices of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The one that it came in by.
    In,
    /// The one that it leaves by.
    Out,
}

/// The names, in the order in which the tool tries and prints them.
pub const NAMES: [(&str, AddressType); 12] = [
    ("UNSPEC", AddressType::Unspec),
    ("UNICAST", AddressType::Unicast),
    ("LOCAL", AddressType::Local),
    ("BROADCAST", AddressType::Broadcast),
    ("ANYCAST", AddressType::Anycast),
    ("MULTICAST", AddressType::Multicast),
    ("BLACKHOLE", AddressType::Blackhole),
    ("UNREACHABLE", AddressType::Unreachable),
    ("PROHIBIT", AddressType::Prohibit),
    ("THROW", AddressType::Throw),
    ("NAT", AddressType::Nat),
    ("XRESOLVE", AddressType::Xresolve),
];

static SOURCE: Opt<Vec<AddressType>> = Opt::new(&["src-type"], types).invertible();
static DESTINATION: Opt<Vec<AddressType>> = Opt::new(&["dst-type"], types).invertible();
static LIMIT_IN: Opt<()> = switch(&["limit-iface-in"]);
static LIMIT_OUT: Opt<()> = switch(&["limit-iface-out"]);

impl Extension for Addrtype {
    const NAME: &'static str = "addrtype";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &SOURCE.spec,
        &DESTINATION.spec,
        &LIMIT_IN.spec,
        &LIMIT_OUT.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let source = arguments.get(&SOURCE)?;
        let destination = arguments.get(&DESTINATION)?;
        if source.is_none() && destination.is_none() {
            let message = "no address type is given";
            return Err(
                Diagnostic::error(code::MISSING_OPTION, arguments.span, message)
                    .usage("addrtype: you must specify --src-type or --dst-type")
                    .with_help("add --src-type or --dst-type"),
            );
        }
        arguments.at_most_one(&[&LIMIT_IN.spec, &LIMIT_OUT.spec])?;
        let limit_in = arguments.has(&LIMIT_IN).then_some(Device::In);
        let limit_out = arguments.has(&LIMIT_OUT).then_some(Device::Out);
        Ok(Self {
            source,
            destination,
            device: limit_in.or(limit_out),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        use NfHook::{Forward, Input, Output, Postrouting, Prerouting};
        match self.device {
            None => &NfHook::ALL,
            Some(Device::In) => &[Prerouting, Input, Forward],
            Some(Device::Out) => &[Forward, Output, Postrouting],
        }
    }

    fn print(&self, line: &mut Line) {
        for (option, types) in [
            ("--src-type", &self.source),
            ("--dst-type", &self.destination),
        ] {
            let Some(types) = types else { continue };
            let names = NAMES
                .iter()
                .filter(|row| types.value.value.contains(&row.1));
            let names: Vec<&str> = names.map(|row| row.0).collect();
            line.option(types.negated, option);
            line.word(names.join(","));
        }
        match self.device {
            None => {}
            Some(Device::In) => line.word("--limit-iface-in"),
            Some(Device::Out) => line.word("--limit-iface-out"),
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("ADDRTYPE match");
        for (name, types) in [("src-type", &self.source), ("dst-type", &self.destination)] {
            let Some(types) = types else { continue };
            let names = NAMES
                .iter()
                .filter(|row| types.value.value.contains(&row.1));
            let names: Vec<&str> = names.map(|row| row.0).collect();
            let sign = sign(types.negated);
            line.word(format_args!("{name} {sign}{}", names.join(",")));
        }
        match self.device {
            None => {}
            Some(Device::In) => line.word("limit-in"),
            Some(Device::Out) => line.word("limit-out"),
        }
    }
}

/// Names between commas, each by any leading part; the first in the table wins.
fn types(value: &Value<'_>) -> Result<Vec<AddressType>, Problem> {
    let mut types = Vec::new();
    for name in value.word(0).split_str(",") {
        let found = NAMES.iter().find(|row| is_prefix_of(name, row.0));
        let Some(&(full_name, kind)) = found else {
            let names: Vec<&str> = NAMES.iter().map(|row| row.0).collect();
            return Err(
                Problem::new(format!("{:?} is no address type", BStr::new(name)))
                    .usage(format!("addrtype: bad type \"{}\"", BStr::new(name)))
                    .with_help(format!("the types are {}", names.join(", "))),
            );
        };
        if value.rule.family == Family::V6 && !kind.is_of_ipv6() {
            return Err(Problem::new(format!(
                "the kernel does not test IPv6 addresses for {full_name}"
            )));
        }
        types.push(kind);
    }
    types.sort();
    types.dedup();
    Ok(types)
}

impl AddressType {
    /// Whether the kernel takes it in ip6tables (xt_addrtype.c, `addrtype_mt_checkentry_v1`).
    fn is_of_ipv6(self) -> bool {
        use AddressType::{Anycast, Local, Multicast, Unicast, Unreachable, Unspec};
        matches!(
            self,
            Unspec | Unicast | Local | Anycast | Multicast | Unreachable
        )
    }
}
