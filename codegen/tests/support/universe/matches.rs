//! Matches of rules.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::matches::ah::Ah;
use ipt2bpf_parser::matches::cpu::Cpu;
use ipt2bpf_parser::matches::dccp::{Dccp, PacketTypes};
use ipt2bpf_parser::matches::dscp::Dscp;
use ipt2bpf_parser::matches::ecn::Ecn;
use ipt2bpf_parser::matches::esp::Esp;
use ipt2bpf_parser::matches::eui64::Eui64;
use ipt2bpf_parser::matches::hl::Hl;
use ipt2bpf_parser::matches::icmp::{Icmp, Icmp6, TypeCode};
use ipt2bpf_parser::matches::iprange::{AddressRange, IpRange};
use ipt2bpf_parser::matches::length::Length;
use ipt2bpf_parser::matches::mac::{Mac, MacAddress};
use ipt2bpf_parser::matches::mark::Mark;
use ipt2bpf_parser::matches::mh::Mh;
use ipt2bpf_parser::matches::multiport::{Multiport, Side};
use ipt2bpf_parser::matches::physdev::Physdev;
use ipt2bpf_parser::matches::pkttype::{PacketType, Pkttype};
use ipt2bpf_parser::matches::policy::{Direction, Policy, PolicyKind};
use ipt2bpf_parser::matches::sctp::Sctp;
use ipt2bpf_parser::matches::tcp::{Flags, Tcp};
use ipt2bpf_parser::matches::tcpmss::Tcpmss;
use ipt2bpf_parser::matches::tos::Tos;
use ipt2bpf_parser::matches::ttl::Ttl;
use ipt2bpf_parser::matches::udp::Udp;
use ipt2bpf_parser::matches::{Comparison, Masked, Match, PortRange};
use ipt2bpf_parser::range::Range;
use ipt2bpf_parser::ruleset::{Family, Negatable};
use ipt2bpf_parser::span::Spanned;
use ipt2bpf_parser::tos::TosMask;
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;

use super::{
    ADDRESSES4, ADDRESSES6, MACS, MARKS, PORTS, PROCESSORS, PROTOCOLS, interface, negatable,
    spanned,
};

/// Where the rules are to have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// At every hook, without a look into the kernel.
    Everywhere,
    /// At XDP.
    AtXdp,
}

/// The two ports as one number, and what packets have four bytes on.
pub const SPIS: [u32; 5] = [0, 22, 22 << 16 | 53, 0xffff_0050, u32::MAX];
/// Maximum segment sizes.
pub const SIZES: [u16; 4] = [0, 536, 1460, 65535];
/// Times to live.
pub const TTLS: [u8; 4] = [0, 1, 64, 255];

fn port_range() -> impl Strategy<Value = PortRange> {
    (select(&PORTS), select(&PORTS)).prop_map(|(low, high)| PortRange { low, high })
}

fn range<T: Copy + std::fmt::Debug + 'static>(
    numbers: &'static [T],
) -> impl Strategy<Value = Range<T>> {
    (select(numbers), select(numbers)).prop_map(|(low, high)| Range { low, high })
}

/// A match that needs no `-p`.
pub fn header_match(family: Family, seen: Seen) -> BoxedStrategy<Match> {
    let compared = (select(&TTLS), 0..4).prop_map(|(value, kind)| match kind {
        0 => Comparison::Equal(value),
        1 => Comparison::Unequal(value),
        2 => Comparison::Less(value),
        _ => Comparison::Greater(value),
    });
    let ttl = compared.prop_map(move |it| match family {
        Family::V4 => Match::Ttl(Ttl(it)),
        Family::V6 => Match::Hl(Hl(it)),
    });
    let tos = (any::<u8>(), select(&[0u8, 3, 0x10, 0xff]), any::<bool>());
    let tos = tos.prop_map(|(value, mask, possible)| TosMask {
        value: if possible { value & mask } else { value },
        mask,
    });
    let tos = negatable(tos).prop_map(|tos| Match::Tos(Tos { tos }));
    let dscp = negatable(select(&[0u8, 1, 46, 63]));
    let dscp = dscp.prop_map(|codepoint| Match::Dscp(Dscp { codepoint }));
    let length = negatable(range(&[0u16, 20, 40, 60, 80, 100, 65535]));
    let length = length.prop_map(|range| Match::Length(Length(range)));
    let ranges = (
        of(negatable(addresses(family))),
        of(negatable(addresses(family))),
    );
    let iprange = ranges.prop_map(|(source, destination)| {
        Match::IpRange(IpRange {
            source,
            destination,
        })
    });
    let mark = (select(&MARKS), select(&[0u32, 1, 0xff00_0000, u32::MAX]));
    let mark = negatable(mark.prop_map(|(value, mask)| Masked { value, mask }));
    let mark = mark.prop_map(|mark| Match::Mark(Mark(mark)));
    let kind = select(&[
        PacketType::Unicast,
        PacketType::Broadcast,
        PacketType::Multicast,
        PacketType::OtherHost,
    ]);
    let pkttype = negatable(kind).prop_map(|kind| Match::Pkttype(Pkttype(kind)));
    let cpu = negatable(select(&PROCESSORS)).prop_map(|cpu| Match::Cpu(Cpu(cpu)));
    let switch = || of(negatable(Just(())));
    let physdev = (switch(), of(negatable(interface())), switch());
    let physdev = physdev.prop_map(|(is_in, out_port, is_bridged)| {
        Match::Physdev(Physdev {
            is_in,
            in_port: None,
            is_out: None,
            out_port,
            is_bridged,
        })
    });
    let everywhere = prop_oneof![ttl, tos, dscp, length, iprange, mark, pkttype, cpu, physdev];
    if seen == Seen::Everywhere {
        return everywhere.boxed();
    }
    let mac = negatable(select(&MACS).prop_map(MacAddress));
    let mac = mac.prop_map(|source| Match::Mac(Mac { source }));
    let policy = select(&[true, false]).prop_map(|plain| {
        let kind = match plain {
            true => PolicyKind::None,
            false => PolicyKind::Ipsec(Default::default()),
        };
        Match::Policy(Policy {
            direction: Direction::In,
            kind,
        })
    });
    match family {
        Family::V4 => prop_oneof![8 => everywhere, 2 => mac, 1 => policy].boxed(),
        Family::V6 => {
            prop_oneof![8 => everywhere, 2 => mac, 1 => policy, 2 => Just(Match::Eui64(Eui64))]
                .boxed()
        }
    }
}

fn addresses(family: Family) -> BoxedStrategy<AddressRange> {
    match family {
        Family::V4 => {
            let address = || select(&ADDRESSES4).prop_map(Ipv4Addr::from);
            (address(), address())
                .prop_map(|(low, high)| AddressRange::V4 { low, high })
                .boxed()
        }
        Family::V6 => {
            // One away from an address of a packet, at each end.
            let address = || {
                let parsed = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
                (select(&ADDRESSES6), 0..3u128).prop_map(move |(text, more)| {
                    Ipv6Addr::from_bits((parsed(text).to_bits() + more).wrapping_sub(1))
                })
            };
            (address(), address())
                .prop_map(|(low, high)| AddressRange::V6 { low, high })
                .boxed()
        }
    }
}

/// A protocol option with the matches that may follow it.
pub type Protocol = (Option<Negatable<u8>>, Vec<Spanned<Match>>);

pub fn protocol_and_matches(family: Family, seen: Seen) -> BoxedStrategy<Protocol> {
    let others = vec(header_match(family, seen), 0..2);
    (protocol_match(family), weighted(0.4, others))
        .prop_map(|((protocol, mut matches), others)| {
            matches.extend(others.into_iter().flatten().map(spanned));
            (protocol, matches)
        })
        .boxed()
}

/// `-p` and what needs it.
pub fn protocol_match(family: Family) -> BoxedStrategy<Protocol> {
    let plain =
        weighted(0.7, negatable(select(&PROTOCOLS))).prop_map(|protocol| (protocol, Vec::new()));
    let with = |number: u8, matches: BoxedStrategy<Match>| {
        matches.prop_map(move |extension| {
            let protocol = Negatable {
                negated: false,
                value: spanned(number),
            };
            (Some(protocol), vec![spanned(extension)])
        })
    };
    let flags = (any::<u8>(), any::<u8>()).prop_map(|(mask, set)| Flags {
        mask: mask & 0x17,
        set: set & mask & 0x17,
    });
    let tcp = (
        weighted(0.3, negatable(port_range())),
        weighted(0.4, negatable(port_range())),
        weighted(0.4, negatable(flags)),
        weighted(0.4, negatable(select(&[1u8, 2, 3, 8, 64, 200, 255]))),
    );
    let tcp = tcp.prop_map(|(source_ports, destination_ports, flags, option)| {
        Match::Tcp(Tcp {
            source_ports,
            destination_ports,
            flags,
            option,
        })
    });
    let udp = (of(negatable(port_range())), of(negatable(port_range()))).prop_map(
        |(source_ports, destination_ports)| {
            Match::Udp(Udp {
                source_ports,
                destination_ports,
            })
        },
    );
    let type_code = (
        select(&[0u8, 3, 8, 128, 255]),
        select(&[(0u8, 255u8), (0, 0), (1, 3)]),
    )
        .prop_map(|(kind, (code_low, code_high))| TypeCode {
            kind,
            code_low,
            code_high,
        });
    let icmp = match family {
        Family::V4 => negatable(type_code)
            .prop_map(|it| Match::Icmp(Icmp(it)))
            .boxed(),
        Family::V6 => negatable(type_code)
            .prop_map(|it| Match::Icmp6(Icmp6(it)))
            .boxed(),
    };
    let multiport = (
        select(&[Side::Source, Side::Destination, Side::Either]),
        negatable(vec(port_range(), 1..4)),
    );
    let multiport = multiport
        .prop_map(|(side, ports)| Match::Multiport(Multiport { side, ports }))
        .boxed();
    let icmp_number = if family == Family::V4 { 1 } else { 58 };
    let sctp = (of(negatable(port_range())), of(negatable(port_range()))).prop_map(
        |(source_ports, destination_ports)| {
            Match::Sctp(Sctp {
                source_ports,
                destination_ports,
                chunks: None,
            })
        },
    );
    let types = any::<u16>().prop_map(PacketTypes);
    let dccp = (
        of(negatable(port_range())),
        of(negatable(port_range())),
        of(negatable(types)),
    );
    let dccp = dccp.prop_map(|(source_ports, destination_ports, types)| {
        Match::Dccp(Dccp {
            source_ports,
            destination_ports,
            types,
            option: None,
        })
    });
    let esp = negatable(range(&SPIS)).prop_map(|spi| Match::Esp(Esp { spi }));
    let of_family = match family {
        Family::V4 => with(
            51,
            negatable(range(&SPIS))
                .prop_map(|spi| Match::Ah(Ah { spi }))
                .boxed(),
        )
        .boxed(),
        Family::V6 => with(
            135,
            negatable(range(&[0, 1, 2, 22, 255]))
                .prop_map(|types| Match::Mh(Mh { types }))
                .boxed(),
        )
        .boxed(),
    };
    let mss = (select(&SIZES), select(&SIZES)).prop_map(|(low, high)| low..=high);
    let tcpmss = negatable(mss).prop_map(|mss| Match::Tcpmss(Tcpmss { mss }));
    let bit = || of(negatable(Just(())));
    let ecn = (bit(), bit(), of(negatable(0..4u8))).prop_map(|(tcp_ece, tcp_cwr, ip_ect)| {
        Match::Ecn(Ecn {
            tcp_ece,
            tcp_cwr,
            ip_ect,
        })
    });
    prop_oneof![
        3 => plain,
        4 => with(6, tcp.boxed()),
        2 => with(17, udp.boxed()),
        2 => with(icmp_number, icmp),
        1 => with(6, multiport.clone()),
        1 => with(17, multiport.clone()),
        1 => with(136, multiport),
        1 => with(132, sctp.boxed()),
        1 => with(33, dccp.boxed()),
        1 => with(50, esp.boxed()),
        1 => of_family,
        2 => with(6, tcpmss.boxed()),
        2 => with(6, ecn.boxed()),
    ]
    .boxed()
}
