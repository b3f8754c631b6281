//! The binary forms of matches: one file each, named in one table.

mod addrtype;
mod bpf;
mod cgroup;
mod cluster;
mod comment;
mod connbytes;
mod connlabel;
mod connlimit;
mod connmark;
mod conntrack;
mod cpu;
mod dccp;
mod devgroup;
mod dscp;
mod ecn;
mod eui64;
mod frag;
mod hashlimit;
mod header_options;
mod helper;
mod hl;
mod icmp;
mod ipcomp;
mod iprange;
mod ipv6header;
mod ipvs;
mod length;
mod limit;
mod mac;
mod mark;
mod mh;
mod multiport;
mod nfacct;
mod osf;
mod owner;
mod physdev;
mod pkttype;
mod policy;
mod quota;
mod rateest;
mod realm;
mod recent;
mod rpfilter;
mod rt;
mod sctp;
mod set;
mod socket;
mod spi;
mod srh;
mod state;
mod statistic;
mod string;
mod tcp;
mod tcpmss;
mod time;
mod tos;
mod ttl;
mod u32;
mod udp;

use super::codec::{Codec, codec, test};
use crate::matches::{Comparison, Match, PortRange};
use crate::ruleset::Negatable;
use zerocopy::little_endian::U16;

/// All of them. Where several have one name and revision, the first with a value counts.
pub(super) static CODECS: &[Codec<Match>] = &[
    codec!(Match::Addrtype, addrtype::Addrtype1),
    codec!(Match::Ah, spi::Ah40),
    codec!(Match::Ah6, spi::Ah60),
    codec!(Match::Bpf, bpf::Bpf1),
    codec!(Match::Cgroup, cgroup::Cgroup2),
    codec!(Match::Cluster, cluster::Cluster0),
    codec!(Match::Comment, comment::Comment0),
    codec!(Match::Connbytes, connbytes::Connbytes0),
    codec!(Match::Connlabel, connlabel::Connlabel0),
    codec!(Match::Connlimit, connlimit::Connlimit1),
    codec!(Match::Connmark, connmark::Connmark1),
    codec!(Match::Conntrack, conntrack::Conntrack3),
    codec!(Match::Cpu, cpu::Cpu0),
    codec!(Match::Dccp, dccp::Dccp0),
    codec!(Match::Devgroup, devgroup::Devgroup0),
    codec!(Match::Dscp, dscp::Dscp0),
    codec!(Match::Dst, header_options::Dst0),
    codec!(Match::Ecn, ecn::Ecn0),
    codec!(Match::Esp, spi::Esp0),
    codec!(Match::Eui64, eui64::Eui640),
    codec!(Match::Frag, frag::Frag0),
    codec!(Match::Hashlimit, hashlimit::Hashlimit3),
    codec!(Match::Hbh, header_options::Hbh0),
    codec!(Match::Helper, helper::Helper0),
    codec!(Match::Hl, hl::Hl0),
    codec!(Match::Icmp, icmp::Icmp0),
    codec!(Match::Icmp6, icmp::Icmp60),
    codec!(Match::IpRange, iprange::IpRange1),
    codec!(Match::Ipcomp, ipcomp::Ipcomp0),
    codec!(Match::Ipv6Header, ipv6header::Ipv6Header0),
    codec!(Match::Ipvs, ipvs::Ipvs0),
    codec!(Match::Length, length::Length0),
    codec!(Match::Limit, limit::Limit0),
    codec!(Match::Mac, mac::Mac0),
    codec!(Match::Mark, mark::Mark1),
    codec!(Match::Mh, mh::Mh0),
    codec!(Match::Multiport, multiport::Multiport1),
    codec!(Match::Nfacct, nfacct::Nfacct1),
    codec!(Match::Osf, osf::Osf0),
    codec!(Match::Owner, owner::Owner1),
    codec!(Match::Physdev, physdev::Physdev0),
    codec!(Match::Pkttype, pkttype::Pkttype0),
    codec!(Match::Policy, policy::Policy0),
    codec!(Match::Quota, quota::Quota0),
    codec!(Match::RateEst, rateest::Rateest0),
    codec!(Match::Realm, realm::Realm0),
    codec!(Match::Recent, recent::Recent1),
    codec!(Match::Rpfilter, rpfilter::Rpfilter0),
    codec!(Match::Rt, rt::Rt0),
    codec!(Match::Sctp, sctp::Sctp0),
    codec!(Match::Set, set::Set4),
    codec!(Match::Socket, socket::Socket3),
    codec!(Match::Srh, srh::Srh1),
    codec!(Match::State, conntrack::State3),
    codec!(Match::State, state::State0),
    codec!(Match::Statistic, statistic::Statistic0),
    codec!(Match::String, string::String1),
    codec!(Match::Tcp, tcp::Tcp0),
    codec!(Match::Tcpmss, tcpmss::Tcpmss0),
    codec!(Match::Time, time::Time0),
    codec!(Match::Tos, tos::Tos1),
    codec!(Match::Ttl, ttl::Ttl0),
    codec!(Match::U32, u32::U320),
    codec!(Match::Udp, udp::Udp0),
];

/// A range of ports; none if it is every port, not inverted.
fn read_ports([low, high]: [U16; 2], negated: bool) -> Option<Negatable<PortRange>> {
    let ports = PortRange {
        low: low.get(),
        high: high.get(),
    };
    (negated || !ports.is_everything()).then(|| test(negated, ports))
}

fn write_ports(ports: &Option<Negatable<PortRange>>) -> [U16; 2] {
    match ports {
        None => [0.into(), u16::MAX.into()],
        Some(ports) => [ports.value.value.low.into(), ports.value.value.high.into()],
    }
}

/// The comparison of `IPT_TTL_EQ` and so on, which have the numbers of `IP6T_HL_EQ` and so on.
fn read_comparison(mode: u8, number: u8) -> Option<Comparison<u8>> {
    Some(match mode {
        0 => Comparison::Equal(number),
        1 => Comparison::Unequal(number),
        2 => Comparison::Less(number),
        3 => Comparison::Greater(number),
        _ => return None,
    })
}

/// The mode and the number of a comparison.
fn write_comparison(comparison: Comparison<u8>) -> (u8, u8) {
    match comparison {
        Comparison::Equal(number) => (0, number),
        Comparison::Unequal(number) => (1, number),
        Comparison::Less(number) => (2, number),
        Comparison::Greater(number) => (3, number),
    }
}
