//! A small universe: few addresses, ports and names, so that random rules and random packets meet.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::matches::icmp::{Icmp, Icmp6, TypeCode};
use ipt2bpf_parser::matches::multiport::{Multiport, Side};
use ipt2bpf_parser::matches::tcp::{Flags, Tcp};
use ipt2bpf_parser::matches::udp::Udp;
use ipt2bpf_parser::matches::{Match, PortRange};
use ipt2bpf_parser::ruleset::{
    Action, BaseMatch, Builtin, Chain, Counters, Family, InterfacePattern, Negatable, Network,
    NfHook, Policy, Rule, RuleSpan, Ruleset, Table, TableKind, Verdict,
};
use ipt2bpf_parser::span::{Span, Spanned};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;

/// The interfaces; index n has ifindex n + 1.
pub const INTERFACES: [&str; 4] = ["lo", "eth0", "eth1", "wlan0"];
const ADDRESSES4: [[u8; 4]; 5] = [
    [10, 0, 0, 1],
    [10, 0, 0, 130],
    [10, 9, 0, 1],
    [0, 0, 0, 0],
    [224, 0, 0, 5],
];
const ADDRESSES6: [&str; 8] = [
    "2001:db8::1",
    "2001:db8::8000:1",
    "2001:db8:9::1",
    "fe80::1",
    "ff02::5",
    "::1",
    "ff01::5",
    "ff00::5",
];
const PORTS: [u16; 5] = [0, 22, 53, 80, 65535];
/// The least probability there is: what the tool would refuse has a meaning all the same.
const RARELY: f64 = 1e-9;
const PROTOCOLS: [u8; 8] = [1, 6, 17, 58, 132, 47, 59, 50];

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: Span::default(),
    }
}

fn negatable<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Negatable<T>> {
    (weighted(0.3, Just(())), value).prop_map(|(negated, value)| Negatable {
        negated: negated.is_some(),
        value: spanned(value),
    })
}

fn port_range() -> impl Strategy<Value = PortRange> {
    (select(&PORTS), select(&PORTS)).prop_map(|(low, high)| PortRange { low, high })
}

fn network(family: Family) -> BoxedStrategy<Network> {
    match family {
        Family::V4 => (select(&ADDRESSES4), select(&[0u32, 8, 24, 25, 32, 99]))
            .prop_map(|(address, length)| {
                let mask = match length {
                    99 => 0xff00_ff00,
                    length => (u64::MAX << (32 - length)) as u32,
                };
                Network::V4 {
                    address: Ipv4Addr::from(u32::from_be_bytes(address) & mask),
                    mask: Ipv4Addr::from(mask),
                }
            })
            .boxed(),
        Family::V6 => (
            select(&ADDRESSES6),
            select(&[0u32, 10, 32, 64, 97, 128, 999]),
        )
            .prop_map(|(address, length)| {
                let mask = match length {
                    0 => 0,
                    999 => 0xffff_0000_ffff_0000_0000_0000_0000_00ff,
                    length => u128::MAX << (128 - length),
                };
                let address: Ipv6Addr = address.parse().expect("an address");
                Network::V6 {
                    address: Ipv6Addr::from(u128::from(address) & mask),
                    mask: Ipv6Addr::from(mask),
                }
            })
            .boxed(),
    }
}

fn interface() -> impl Strategy<Value = InterfacePattern> {
    select(&[
        ("lo", false),
        ("eth0", false),
        ("eth", true),
        ("", true),
        ("eth", false),
        ("wlan0", false),
    ])
    .prop_map(|(name, prefix)| InterfacePattern {
        name: name.into(),
        prefix,
    })
}

/// A protocol option with the matches that may follow it.
type Protocol = (Option<Negatable<u8>>, Vec<Spanned<Match>>);

fn protocol_and_matches(family: Family) -> BoxedStrategy<Protocol> {
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
    prop_oneof![
        3 => plain,
        4 => with(6, tcp.boxed()),
        2 => with(17, udp.boxed()),
        2 => with(icmp_number, icmp),
        1 => with(6, multiport.clone()),
        1 => with(17, multiport),
    ]
    .boxed()
}

/// A rule in chain number `chain` of the table, which may jump only to later ones.
fn rule(family: Family, hook: Option<NfHook>, later: Vec<String>) -> impl Strategy<Value = Rule> {
    let action = match later.is_empty() {
        true => verdict().boxed(),
        false => prop_oneof![
            2 => verdict(),
            1 => select(later.clone()).prop_map(|chain| Action::Jump(spanned(chain))),
            1 => select(later).prop_map(|chain| Action::Goto(spanned(chain))),
        ]
        .boxed(),
    };
    let inbound = hook.is_none_or(|hook| !matches!(hook, NfHook::Output | NfHook::Postrouting));
    let outbound = hook.is_none_or(|hook| !matches!(hook, NfHook::Input | NfHook::Prerouting));
    let fragment = if family == Family::V4 { 0.1 } else { RARELY };
    let base = (
        weighted(0.2, negatable(network(family))),
        weighted(0.2, negatable(network(family))),
        weighted(if inbound { 0.2 } else { RARELY }, negatable(interface())),
        weighted(if outbound { 0.2 } else { RARELY }, negatable(interface())),
        weighted(fragment, negatable(Just(()))),
        protocol_and_matches(family),
    );
    (base, action).prop_map(
        |(
            (source, destination, in_interface, out_interface, fragment, (protocol, matches)),
            action,
        )| Rule {
            counters: Counters::default(),
            base: BaseMatch {
                source,
                destination,
                in_interface,
                out_interface,
                protocol,
                fragment,
            },
            matches,
            action,
            span: RuleSpan::default(),
        },
    )
}

fn verdict() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Continue),
        1 => Just(Action::Verdict(Verdict::Accept)),
        1 => Just(Action::Verdict(Verdict::Drop)),
        1 => Just(Action::Verdict(Verdict::Return)),
    ]
}

fn table(family: Family, kind: TableKind, hooks: Vec<NfHook>) -> impl Strategy<Value = Table> {
    let users: Vec<String> = (0..4).map(|number| format!("user{number}")).collect();
    let mut chains: Vec<BoxedStrategy<Chain>> = Vec::new();
    for hook in hooks {
        let rules = vec(rule(family, Some(hook), users.clone()), 0..6);
        let policy = select(&[Policy::Accept, Policy::Drop]);
        let chain = (rules, policy).prop_map(move |(rules, policy)| Chain {
            name: hook.to_string(),
            builtin: Some(Builtin { hook, policy }),
            counters: Counters::default(),
            rules,
            span: Span::default(),
        });
        chains.push(chain.boxed());
    }
    for (number, name) in users.iter().enumerate() {
        let name = name.clone();
        let chain =
            vec(rule(family, None, users[number + 1..].to_vec()), 0..5).prop_map(move |rules| {
                Chain {
                    name: name.clone(),
                    builtin: None,
                    counters: Counters::default(),
                    rules,
                    span: Span::default(),
                }
            });
        chains.push(chain.boxed());
    }
    chains.prop_map(move |chains| Table { kind, chains })
}

/// A ruleset of a family, with its tables.
pub fn ruleset(family: Family) -> impl Strategy<Value = Ruleset> {
    use NfHook::{Forward, Input, Output, Postrouting, Prerouting};
    let tables = (
        weighted(0.3, table(family, TableKind::Raw, vec![Prerouting, Output])),
        weighted(
            0.3,
            table(
                family,
                TableKind::Mangle,
                vec![Prerouting, Input, Forward, Output, Postrouting],
            ),
        ),
        weighted(
            0.9,
            table(family, TableKind::Filter, vec![Input, Forward, Output]),
        ),
    );
    tables.prop_map(move |(raw, mangle, filter)| Ruleset {
        family,
        tables: [raw, mangle, filter].into_iter().flatten().collect(),
    })
}

/// One packet and how it comes.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Its family.
    pub family: Family,
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// Index of its interface.
    pub interface: usize,
    /// Whether routing gives it to this host.
    pub local: bool,
    /// 802.1Q tags in the frame: their VLANs' numbers.
    pub tags: Vec<u16>,
    /// Bytes behind the packet in the frame.
    pub padding: usize,
}

impl Packet {
    /// The packet in an Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for tag in &self.tags {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(match self.family {
            Family::V4 => [0x08, 0x00],
            Family::V6 => [0x86, 0xdd],
        });
        frame.extend(&self.bytes);
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }

    /// Whether the kernel keeps it whatever its routes are.
    pub fn is_always_local(&self) -> bool {
        match self.family {
            Family::V4 => self.bytes[16] >> 4 == 0xe || self.bytes[12..20] == [0; 8],
            Family::V6 => self.bytes[24] == 0xff,
        }
    }
}

fn transport() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        select(&PORTS),
        select(&PORTS),
        0..16u8,
        any::<u8>(),
        select(&[0u8, 3, 8, 128, 255]),
    );
    let options = vec(select(&[0u8, 1, 2, 3, 4, 8, 64, 200, 255]), 40);
    let length = prop_oneof![3 => Just(60usize), 2 => 0usize..60];
    (header, options, length, any::<bool>()).prop_map(
        |((source, destination, words, flags, kind), options, length, ports)| {
            let mut bytes = vec![0; 20];
            bytes[0..2].copy_from_slice(&source.to_be_bytes());
            bytes[2..4].copy_from_slice(&destination.to_be_bytes());
            bytes[12] = words << 4;
            bytes[13] = flags;
            bytes.extend(options);
            if !ports {
                bytes[0] = kind;
                bytes[1] = flags & 3;
            }
            bytes.truncate(length);
            bytes
        },
    )
}

fn packet4() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        select(&ADDRESSES4),
        select(&ADDRESSES4),
        select(&PROTOCOLS),
        select(&[0u16, 0, 0, 0x2000, 1, 185, 0x2001]),
        5..16u8,
    );
    (header, transport()).prop_map(
        |((source, destination, protocol, fragment, words), transport)| {
            let header_length = 4 * usize::from(words);
            let mut bytes = vec![1; header_length];
            bytes[0] = 0x40 | words;
            bytes[2..4].copy_from_slice(&((header_length + transport.len()) as u16).to_be_bytes());
            bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
            bytes[9] = protocol;
            bytes[12..16].copy_from_slice(&source);
            bytes[16..20].copy_from_slice(&destination);
            bytes[10..12].fill(0);
            let sum: u32 = bytes
                .chunks(2)
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = (sum & 0xffff) + (sum >> 16);
            bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            bytes.extend(transport);
            bytes
        },
    )
}

fn packet6() -> impl Strategy<Value = Vec<u8>> {
    let extension = (
        select(&[0u8, 43, 44, 51, 60, 60]),
        select(&[0u8, 0, 0, 1, 2, 255]),
        any::<u16>(),
    );
    let header = (select(&ADDRESSES6), select(&ADDRESSES6), select(&PROTOCOLS));
    let cut = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..40];
    (
        header,
        vec(extension, 0..4),
        transport(),
        cut,
        any::<bool>(),
    )
        .prop_map(
            |((source, destination, protocol), extensions, transport, cut, whole)| {
                let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
                let mut bytes = vec![0; 40];
                bytes[0] = 0x60;
                bytes[8..24].copy_from_slice(&address(source));
                bytes[24..40].copy_from_slice(&address(destination));
                let mut next = 6;
                for (kind, length, fragment) in extensions {
                    bytes[next] = kind;
                    next = bytes.len();
                    let size = match kind {
                        44 => 8,
                        51 => 4 * (usize::from(length % 3) + 2),
                        _ => 8 * (usize::from(length % 3) + 1),
                    };
                    let mut extension = vec![0; size];
                    extension[1] = if length == 255 { 255 } else { length % 3 };
                    if kind == 44 {
                        let offset = if whole { 0 } else { fragment & 0x00f9 };
                        extension[2..4].copy_from_slice(&offset.to_be_bytes());
                    }
                    bytes.extend(extension);
                }
                bytes[next] = protocol;
                bytes.extend(transport);
                bytes.truncate(40 + cut.min(bytes.len() - 40));
                let payload = (bytes.len() - 40) as u16;
                bytes[4..6].copy_from_slice(&payload.to_be_bytes());
                bytes
            },
        )
}

/// Packets of both families.
pub fn packets(count: usize) -> impl Strategy<Value = Vec<Packet>> {
    let bytes = prop_oneof![
        packet4().prop_map(|bytes| (Family::V4, bytes)),
        packet6().prop_map(|bytes| (Family::V6, bytes)),
    ];
    let packet = (
        bytes,
        0..INTERFACES.len(),
        any::<bool>(),
        vec(prop_oneof![8 => Just(0xe000u16), 1 => Just(0x2005)], 0..3),
        select(&[0usize, 0, 7]),
    );
    let packet = packet.prop_map(
        |((family, bytes), interface, local, tags, padding)| Packet {
            family,
            bytes,
            interface,
            local,
            tags,
            padding,
        },
    );
    vec(packet, count)
}
