//! Match extensions: one file each, named in one table.

pub mod addrtype;
pub mod ah;
pub mod bpf;
pub mod cgroup;
pub mod cluster;
pub mod comment;
pub mod connbytes;
pub mod connlabel;
pub mod connlimit;
pub mod connmark;
pub mod conntrack;
pub mod cpu;
pub mod dccp;
pub mod devgroup;
pub mod dscp;
pub mod dst;
pub mod ecn;
pub mod esp;
pub mod eui64;
pub mod frag;
pub mod hashlimit;
pub mod hbh;
pub mod helper;
pub mod hl;
pub mod icmp;
pub mod ipcomp;
pub mod iprange;
pub mod ipv6header;
pub mod ipvs;
pub mod length;
pub mod limit;
pub mod mac;
pub mod mark;
pub mod mh;
pub mod multiport;
pub mod nfacct;
pub mod osf;
pub mod owner;
pub mod physdev;
pub mod pkttype;
pub mod policy;
pub mod quota;
pub mod rateest;
pub mod realm;
pub mod recent;
pub mod rpfilter;
pub mod rt;
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
use crate::extension::{Arguments, Opt, Spec, registry};
use crate::print::Line;
use crate::ruleset::{Family, Negatable};
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

/// A number of 32 bits and the bits of it that count. A value with other bits never matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Masked {
    /// What the masked bits must be.
    pub value: u32,
    /// The bits looked at.
    pub mask: u32,
}

/// Which side of a limit matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The limit and less.
    UpTo,
    /// More than the limit.
    Above,
}

registry! {
    /// `-m NAME` with its options.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Match {
        /// `-m addrtype`
        Addrtype(addrtype::Addrtype),
        /// `-m ah` of IPv4
        Ah(ah::Ah),
        /// `-m ah` of IPv6
        Ah6(ah::Ah6),
        /// `-m bpf`
        Bpf(bpf::Bpf),
        /// `-m cgroup`
        Cgroup(cgroup::Cgroup),
        /// `-m cluster`
        Cluster(cluster::Cluster),
        /// `-m comment`
        Comment(comment::Comment),
        /// `-m connbytes`
        Connbytes(connbytes::Connbytes),
        /// `-m connlabel`
        Connlabel(connlabel::Connlabel),
        /// `-m connlimit`
        Connlimit(connlimit::Connlimit),
        /// `-m connmark`
        Connmark(connmark::Connmark),
        /// `-m conntrack`
        Conntrack(conntrack::Conntrack),
        /// `-m cpu`
        Cpu(cpu::Cpu),
        /// `-m dccp`
        Dccp(dccp::Dccp),
        /// `-m devgroup`
        Devgroup(devgroup::Devgroup),
        /// `-m dscp`
        Dscp(dscp::Dscp),
        /// `-m dst`
        Dst(dst::Dst),
        /// `-m ecn`
        Ecn(ecn::Ecn),
        /// `-m esp`
        Esp(esp::Esp),
        /// `-m eui64`
        Eui64(eui64::Eui64),
        /// `-m frag`
        Frag(frag::Frag),
        /// `-m hashlimit`
        Hashlimit(hashlimit::Hashlimit),
        /// `-m hbh`
        Hbh(hbh::Hbh),
        /// `-m helper`
        Helper(helper::Helper),
        /// `-m hl`
        Hl(hl::Hl),
        /// `-m icmp`
        Icmp(icmp::Icmp),
        /// `-m icmp6`
        Icmp6(icmp::Icmp6),
        /// `-m ipcomp`
        Ipcomp(ipcomp::Ipcomp),
        /// `-m iprange`
        IpRange(iprange::IpRange),
        /// `-m ipv6header`
        Ipv6Header(ipv6header::Ipv6Header),
        /// `-m ipvs`
        Ipvs(ipvs::Ipvs),
        /// `-m length`
        Length(length::Length),
        /// `-m limit`
        Limit(limit::Limit),
        /// `-m mac`
        Mac(mac::Mac),
        /// `-m mark`
        Mark(mark::Mark),
        /// `-m mh`
        Mh(mh::Mh),
        /// `-m multiport`
        Multiport(multiport::Multiport),
        /// `-m nfacct`
        Nfacct(nfacct::Nfacct),
        /// `-m osf`
        Osf(osf::Osf),
        /// `-m owner`
        Owner(owner::Owner),
        /// `-m physdev`
        Physdev(physdev::Physdev),
        /// `-m pkttype`
        Pkttype(pkttype::Pkttype),
        /// `-m policy`
        Policy(policy::Policy),
        /// `-m quota`
        Quota(quota::Quota),
        /// `-m rateest`
        RateEst(rateest::RateEst),
        /// `-m realm`
        Realm(realm::Realm),
        /// `-m recent`
        Recent(recent::Recent),
        /// `-m rpfilter`
        Rpfilter(rpfilter::Rpfilter),
        /// `-m rt`
        Rt(rt::Rt),
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
    }
}

/// The matches that a family has.
pub(crate) fn of_family(family: Family) -> impl Iterator<Item = &'static Spec<Match>> {
    REGISTRY
        .iter()
        .filter(move |spec| spec.family.is_none_or(|only| only == family))
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

/// Hexadecimal, the mask only if it leaves bits out (libxtables, `xtables_print_val_mask`).
impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mask {
            u32::MAX => write!(f, "{:#x}", self.value),
            mask => write!(f, "{:#x}/{mask:#x}", self.value),
        }
    }
}

impl<T: Copy> Comparison<T> {
    /// The relation as a symbol, and the number.
    fn in_symbols(self) -> (&'static str, T) {
        match self {
            Comparison::Equal(number) => ("==", number),
            Comparison::Unequal(number) => ("!=", number),
            Comparison::Less(number) => ("<", number),
            Comparison::Greater(number) => (">", number),
        }
    }
}

impl Bound {
    fn negated_if(self, negated: bool) -> Self {
        match (self, negated) {
            (Bound::UpTo, false) | (Bound::Above, true) => Bound::UpTo,
            (Bound::Above, false) | (Bound::UpTo, true) => Bound::Above,
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
