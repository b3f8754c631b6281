//! Match extensions: one file each, named in one table.

pub mod comment;
pub mod conntrack;
pub mod eui64;
pub mod icmp;
pub mod limit;
pub mod multiport;
pub mod sctp;
pub mod set;
pub mod socket;
pub mod srh;
pub mod statistic;
pub mod string;
pub mod tcp;
pub mod tcpmss;
pub mod time;
pub mod tos;
pub mod ttl;
pub mod u32;
pub mod udp;

use serde::Serialize;

use std::fmt;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Opt, registry};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::unknown::Unknown;
use crate::value::port_range;

/// An inclusive range of port numbers, host byte order. `low > high` never matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PortRange {
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

/// How a number of the packet is compared with one of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison<T> {
    /// The packet's is the same.
    Equal(T),
    /// The packet's is another.
    Unequal(T),
    /// The packet's is less.
    Less(T),
    /// The packet's is greater.
    Greater(T),
}

/// `-m NAME` with its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// `-m comment`
    Comment(comment::Comment),
    /// `-m conntrack`
    Conntrack(conntrack::Conntrack),
    /// `-m eui64`
    Eui64(eui64::Eui64),
    /// `-m icmp`
    Icmp(icmp::Icmp),
    /// `-m icmp6`
    Icmp6(icmp::Icmp6),
    /// `-m limit`
    Limit(limit::Limit),
    /// `-m multiport`
    Multiport(multiport::Multiport),
    /// `-m sctp`
    Sctp(sctp::Sctp),
    /// `-m set`
    Set(set::Set),
    /// `-m socket`
    Socket(socket::Socket),
    /// `-m srh`
    Srh(srh::Srh),
    /// `-m state`
    State(conntrack::State),
    /// `-m statistic`
    Statistic(statistic::Statistic),
    /// `-m string`
    String(string::StringMatch),
    /// `-m tcp`
    Tcp(tcp::Tcp),
    /// `-m tcpmss`
    Tcpmss(tcpmss::Tcpmss),
    /// `-m time`
    Time(time::Time),
    /// `-m tos`
    Tos(tos::Tos),
    /// `-m ttl`
    Ttl(ttl::Ttl),
    /// `-m u32`
    U32(self::u32::U32),
    /// `-m udp`
    Udp(udp::Udp),
    /// An extension that this version does not know, kept word for word.
    Unknown(Unknown),
}

registry! { Match:
    Comment(comment::Comment),
    Conntrack(conntrack::Conntrack),
    Eui64(eui64::Eui64),
    Icmp(icmp::Icmp),
    Icmp6(icmp::Icmp6),
    Limit(limit::Limit),
    Multiport(multiport::Multiport),
    Sctp(sctp::Sctp),
    Set(set::Set),
    Socket(socket::Socket),
    Srh(srh::Srh),
    State(conntrack::State),
    Statistic(statistic::Statistic),
    String(string::StringMatch),
    Tcp(tcp::Tcp),
    Tcpmss(tcpmss::Tcpmss),
    Time(time::Time),
    Tos(tos::Tos),
    Ttl(ttl::Ttl),
    U32(self::u32::U32),
    Udp(udp::Udp),
}

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

static SOURCE_PORTS: Opt<PortRange> = Opt::new(&["source-port", "sport"], |value| {
    port_range(value.word(0), value.rule)
})
.invertible();
static DESTINATION_PORTS: Opt<PortRange> = Opt::new(&["destination-port", "dport"], |value| {
    port_range(value.word(0), value.rule)
})
.invertible();

impl PortRange {
    /// Whether every port is in it.
    pub fn is_everything(self) -> bool {
        self.low == 0 && self.high == u16::MAX
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}:{}", self.low, self.high)
        }
    }
}

/// The ports of tcp and udp, with a warning for a test that save text cannot show.
fn read_ports(
    arguments: &mut Arguments<'_>,
    option: &'static Opt<PortRange>,
) -> Result<Option<Negatable<PortRange>>, Diagnostic> {
    let ports = arguments.get(option)?;
    if let Some(ports) = ports
        .as_ref()
        .filter(|it| it.negated && it.value.value.is_everything())
    {
        let message = "no port is outside 0:65535, so this rule never matches";
        arguments.warn(
            Diagnostic::warning(code::NEVER_MATCHES, ports.value.span, message).with_help(
                "iptables-save prints such a test as nothing, and what it prints always matches",
            ),
        );
    }
    Ok(ports)
}

/// The tool does not print a test for all ports, not even an inverted one (libxt_tcp, `print_ports`).
fn print_ports(line: &mut Line, option: &str, ports: &Option<Negatable<PortRange>>) {
    if let Some(ports) = ports.as_ref().filter(|it| !it.value.value.is_everything()) {
        line.option(ports.negated, option);
        line.word(ports.value.value);
    }
}
