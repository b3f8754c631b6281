//! `-j REJECT`: drop, and tell the sender (libipt_REJECT, libip6t_REJECT).

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Family, TableKind};
use crate::value::is_prefix_of;
use bstr::BStr;
use serde::Serialize;

/// The `REJECT` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// `--reject-with`
    pub with: RejectWith,
}

/// The answer that a rejected sender gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectWith {
    /// IPv4 `icmp-net-unreachable`
    IcmpNetUnreachable,
    /// IPv4 `icmp-host-unreachable`
    IcmpHostUnreachable,
    /// IPv4 `icmp-proto-unreachable`
    IcmpProtoUnreachable,
    /// IPv4 `icmp-port-unreachable`, its default
    IcmpPortUnreachable,
    /// IPv4 `icmp-net-prohibited`
    IcmpNetProhibited,
    /// IPv4 `icmp-host-prohibited`
    IcmpHostProhibited,
    /// IPv4 `icmp-admin-prohibited`
    IcmpAdminProhibited,
    /// Both families, `tcp-reset`, only with `-p tcp`
    TcpReset,
    /// IPv6 `icmp6-no-route`
    Icmp6NoRoute,
    /// IPv6 `icmp6-adm-prohibited`
    Icmp6AdmProhibited,
    /// IPv6 `icmp6-addr-unreachable`
    Icmp6AddrUnreachable,
    /// IPv6 `icmp6-port-unreachable`, its default
    Icmp6PortUnreachable,
    /// IPv6 `icmp6-policy-fail`
    Icmp6PolicyFail,
    /// IPv6 `icmp6-reject-route`
    Icmp6RejectRoute,
}

/// The answers of libipt_REJECT with their short names, in its order.
const V4: &[(RejectWith, &str, &str)] = &[
    (
        RejectWith::IcmpNetUnreachable,
        "icmp-net-unreachable",
        "net-unreach",
    ),
    (
        RejectWith::IcmpHostUnreachable,
        "icmp-host-unreachable",
        "host-unreach",
    ),
    (
        RejectWith::IcmpProtoUnreachable,
        "icmp-proto-unreachable",
        "proto-unreach",
    ),
    (
        RejectWith::IcmpPortUnreachable,
        "icmp-port-unreachable",
        "port-unreach",
    ),
    (
        RejectWith::IcmpNetProhibited,
        "icmp-net-prohibited",
        "net-prohib",
    ),
    (
        RejectWith::IcmpHostProhibited,
        "icmp-host-prohibited",
        "host-prohib",
    ),
    (RejectWith::TcpReset, "tcp-reset", "tcp-rst"),
    (
        RejectWith::IcmpAdminProhibited,
        "icmp-admin-prohibited",
        "admin-prohib",
    ),
];

/// The answers of libip6t_REJECT with their short names, in its order.
const V6: &[(RejectWith, &str, &str)] = &[
    (RejectWith::Icmp6NoRoute, "icmp6-no-route", "no-route"),
    (
        RejectWith::Icmp6AdmProhibited,
        "icmp6-adm-prohibited",
        "adm-prohibited",
    ),
    (
        RejectWith::Icmp6AddrUnreachable,
        "icmp6-addr-unreachable",
        "addr-unreach",
    ),
    (
        RejectWith::Icmp6PortUnreachable,
        "icmp6-port-unreachable",
        "port-unreach",
    ),
    (RejectWith::TcpReset, "tcp-reset", "tcp-reset"),
    (
        RejectWith::Icmp6PolicyFail,
        "icmp6-policy-fail",
        "policy-fail",
    ),
    (
        RejectWith::Icmp6RejectRoute,
        "icmp6-reject-route",
        "reject-route",
    ),
];

const PROTOCOL_TCP: u8 = 6;

static REJECT_WITH: Opt<RejectWith> = Opt::new(&["reject-with"], with);

impl Extension for Reject {
    const NAME: &'static str = "REJECT";
    const TABLES: &'static [TableKind] = &[TableKind::Filter];
    const OPTIONS: &'static [&'static OptionSpec] = &[&REJECT_WITH.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let default = match arguments.rule.family {
            Family::V4 => RejectWith::IcmpPortUnreachable,
            Family::V6 => RejectWith::Icmp6PortUnreachable,
        };
        let with = arguments
            .get(&REJECT_WITH)?
            .map_or(default, |given| given.value.value);
        if with == RejectWith::TcpReset {
            arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?;
        }
        Ok(Self { with })
    }

    fn print(&self, line: &mut Line) {
        line.word("--reject-with");
        line.word(self.with.name());
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.undashed(|line| self.print(line));
    }
}

impl RejectWith {
    /// The name in `--reject-with`.
    pub fn name(self) -> &'static str {
        let found = V4.iter().chain(V6).find(|row| row.0 == self);
        found.map(|row| row.1).unwrap_or_default()
    }
}

/// A name or short name by any leading part; the first in the table wins.
fn with(value: &Value<'_>) -> Result<RejectWith, Problem> {
    let word = value.word(0);
    let table = match value.rule.family {
        Family::V4 => V4,
        Family::V6 => V6,
    };
    let found = table
        .iter()
        .find(|row| is_prefix_of(word, row.1) || is_prefix_of(word, row.2));
    found.map(|row| row.0).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|row| row.1).collect();
        Problem::new(format!(
            "{:?} is no reject type of {}",
            BStr::new(word),
            value.rule.family
        ))
        .usage(format!("unknown reject type \"{}\"", BStr::new(word)))
        .with_help(format!("write one of {}", names.join(", ")))
    })
}
