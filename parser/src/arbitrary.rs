//! Random rulesets for property tests, of the most used extensions.
//!
//! All are valid and canonical: printing and parsing gives them back, places aside. Left out are
//! the few values whose saved text means something else, such as `! -i +` or `-p all` for IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bstr::BString;
use proptest::collection::{btree_set, vec};
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::matches::addrtype::{AddressType, Addrtype};
use crate::matches::comment::Comment;
use crate::matches::connlimit::{By, Connlimit};
use crate::matches::connmark::Connmark;
use crate::matches::conntrack::{Conntrack, Direction, State, States, Statuses, Tuple};
use crate::matches::dscp::Dscp;
use crate::matches::hashlimit::{Hashlimit, Key, Rate};
use crate::matches::icmp::{Icmp, Icmp6, TypeCode};
use crate::matches::iprange::{AddressRange, IpRange};
use crate::matches::length::Length;
use crate::matches::limit::Limit;
use crate::matches::mark::Mark;
use crate::matches::multiport::{Multiport, Side};
use crate::matches::pkttype::{PacketType, Pkttype};
use crate::matches::recent::{Check, Recent, Side as RecentSide};
use crate::matches::set::{self, Lookup, Set};
use crate::matches::statistic::Statistic;
use crate::matches::string::{Algorithm, StringMatch};
use crate::matches::tcp::{Flags, Tcp};
use crate::matches::tcpmss::Tcpmss;
use crate::matches::time::Time;
use crate::matches::tos::Tos;
use crate::matches::u32::{Step, Test, U32};
use crate::matches::udp::Udp;
use crate::matches::{Bound, Comparison, Masked, Match, PortRange};
use crate::prefix::Prefix;
use crate::range::Range;
use crate::ruleset::{
    Action, BaseMatch, Builtin, Chain, Counters, Family, InterfacePattern, Negatable, Network,
    NfHook, Policy, Rule, RuleSpan, Ruleset, Table, TableKind, Verdict,
};
use crate::span::{Span, Spanned};
use crate::targets::Target;
use crate::targets::log::Log;
use crate::targets::reject::{Reject, RejectWith};
use crate::tos::TosMask;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// A ruleset of either family with one to five tables.
pub fn ruleset() -> impl Strategy<Value = Ruleset> {
    prop_oneof![ruleset_of(Family::V4), ruleset_of(Family::V6)]
}

/// A ruleset of one family with one to five tables.
pub fn ruleset_of(family: Family) -> impl Strategy<Value = Ruleset> {
    subsequence(TableKind::ALL.to_vec(), 1..=TableKind::ALL.len())
        .prop_flat_map(move |kinds| {
            kinds
                .into_iter()
                .map(|kind| table(family, kind))
                .collect::<Vec<_>>()
        })
        .prop_map(move |tables| Ruleset { family, tables })
}

/// A table with up to four user chains. A user chain leads only to chains behind it, so there are no
/// loops.
pub fn table(family: Family, kind: TableKind) -> impl Strategy<Value = Table> {
    // Lower case, so that no name is that of a built-in chain, verdict or target.
    btree_set("[a-z0-9][a-z0-9_.-]{0,27}", 0..4).prop_flat_map(move |names| {
        let names: Vec<String> = names.into_iter().collect();
        let builtin = kind
            .hooks()
            .iter()
            .map(|&hook| chain(family, kind, Some(hook), hook.to_string(), names.clone()));
        let user = (0..names.len()).map(|at| {
            chain(
                family,
                kind,
                None,
                names[at].clone(),
                names[at + 1..].to_vec(),
            )
        });
        let chains: Vec<_> = builtin.chain(user).collect();
        chains.prop_map(move |chains| Table { kind, chains })
    })
}

fn chain(
    family: Family,
    kind: TableKind,
    hook: Option<NfHook>,
    name: String,
    targets: Vec<String>,
) -> BoxedStrategy<Chain> {
    let policy = select(vec![Policy::Accept, Policy::Drop]);
    let rules = vec(rule(family, kind, hook, targets), 0..5);
    (policy, counters(), rules)
        .prop_map(move |(policy, counters, rules)| Chain {
            name: name.clone(),
            builtin: hook.map(|hook| Builtin { hook, policy }),
            counters: if hook.is_some() {
                counters
            } else {
                Counters::default()
            },
            rules,
            span: Span::default(),
        })
        .boxed()
}

/// A rule that may stand in a chain of this hook (none for a user chain) and lead to these chains.
pub fn rule(
    family: Family,
    kind: TableKind,
    hook: Option<NfHook>,
    targets: Vec<String>,
) -> impl Strategy<Value = Rule> {
    let base = base(family, hook);
    base.prop_flat_map(move |base| {
        let protocol = base
            .protocol
            .as_ref()
            .filter(|it| !it.negated)
            .map(|it| it.value.value);
        let matches = vec(extension(family, protocol).prop_map(spanned), 0..3);
        (
            Just(base),
            matches,
            action(family, kind, protocol, targets.clone()),
            counters(),
        )
    })
    .prop_map(|(base, matches, action, counters)| Rule {
        counters,
        base,
        matches,
        action,
        span: RuleSpan::default(),
    })
}

fn base(family: Family, hook: Option<NfHook>) -> impl Strategy<Value = BaseMatch> {
    let has_in = !matches!(hook, Some(NfHook::Output | NfHook::Postrouting));
    let has_out = !matches!(hook, Some(NfHook::Prerouting | NfHook::Input));
    let test = move |is_possible: bool| {
        weighted(0.3, negatable(interface())).prop_map(move |it| it.filter(|_| is_possible))
    };
    let fragment =
        weighted(0.1, negatable(Just(()))).prop_map(move |it| it.filter(|_| family == Family::V4));
    (
        weighted(0.4, negatable(network(family))),
        weighted(0.4, negatable(network(family))),
        test(has_in),
        test(has_out),
        weighted(0.7, negatable(protocol())),
        fragment,
    )
        .prop_map(
            |(source, destination, in_interface, out_interface, protocol, fragment)| BaseMatch {
                source,
                destination,
                in_interface,
                out_interface,
                protocol,
                fragment,
            },
        )
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(TCP), 3 => Just(UDP), 1 => Just(ICMP), 1 => Just(ICMP6), 1 => 1..=255_u8]
}

/// A network that has at least one bit of mask: most often a prefix, at times a mask with holes.
pub fn network(family: Family) -> BoxedStrategy<Network> {
    match family {
        Family::V4 => {
            let mask = prop_oneof![4 => (1..=32_u32).prop_map(|length| u32::MAX << (32 - length)), 1 => 1..=u32::MAX];
            (any::<u32>(), mask)
                .prop_map(|(address, mask)| Network::V4 {
                    address: Ipv4Addr::from_bits(address & mask),
                    mask: Ipv4Addr::from_bits(mask),
                })
                .boxed()
        }
        Family::V6 => {
            let mask = prop_oneof![4 => (1..=128_u32).prop_map(|length| u128::MAX << (128 - length)), 1 => 1..=u128::MAX];
            // Few bits set, so that runs of zero groups are common.
            let address = prop_oneof![
                any::<u128>(),
                (any::<u32>(), 0..97_u32).prop_map(|(bits, by)| u128::from(bits) << by)
            ];
            (address, mask)
                .prop_map(|(address, mask)| Network::V6 {
                    address: Ipv6Addr::from_bits(address & mask),
                    mask: Ipv6Addr::from_bits(mask),
                })
                .boxed()
        }
    }
}

fn interface() -> impl Strategy<Value = InterfacePattern> {
    ("[a-z][a-z0-9.:_-]{0,13}", any::<bool>())
        .prop_map(|(name, prefix)| InterfacePattern { name, prefix })
}

fn extension(family: Family, protocol: Option<u8>) -> BoxedStrategy<Match> {
    let any_protocol = prop_oneof![
        vec(text_byte(), 0..40).prop_map(|text| Match::Comment(Comment {
            text: BString::from(text)
        })),
        conntrack(family).prop_map(Match::Conntrack),
        negatable(states(5)).prop_map(|states| Match::State(State { states })),
        limit().prop_map(Match::Limit),
        ip_range(family).prop_map(Match::IpRange),
        negatable(length()).prop_map(|it| Match::Length(Length(it))),
        negatable(masked()).prop_map(|it| Match::Mark(Mark(it))),
        negatable(packet_type()).prop_map(|it| Match::Pkttype(Pkttype(it))),
        recent(family).prop_map(Match::Recent),
        addrtype(family).prop_map(Match::Addrtype),
        negatable(masked()).prop_map(|mark| Match::Connmark(Connmark { mark })),
        connlimit(family).prop_map(Match::Connlimit),
        negatable(0..=63_u8).prop_map(|codepoint| Match::Dscp(Dscp { codepoint })),
        hashlimit(family).prop_map(Match::Hashlimit),
        set().prop_map(Match::Set),
        statistic().prop_map(Match::Statistic),
        string().prop_map(Match::String),
        time().prop_map(Match::Time),
        tos().prop_map(Match::Tos),
        u32_tests().prop_map(Match::U32),
    ];
    let multiport = (
        select(vec![Side::Source, Side::Destination, Side::Either]),
        negatable(port_list()),
    )
        .prop_map(|(side, ports)| Match::Multiport(Multiport { side, ports }));
    match (protocol, family) {
        (Some(TCP), _) => prop_oneof![4 => any_protocol, 2 => multiport, 2 => tcp().prop_map(Match::Tcp), 1 => tcpmss().prop_map(Match::Tcpmss)].boxed(),
        (Some(UDP), _) => prop_oneof![any_protocol, multiport, udp().prop_map(Match::Udp)].boxed(),
        (Some(ICMP), Family::V4) => {
            let any_type = Just(TypeCode {
                kind: 255,
                code_low: 0,
                code_high: 255,
            });
            let icmp = negatable(prop_oneof![4 => type_code(254), 1 => any_type]);
            prop_oneof![any_protocol, icmp.prop_map(|it| Match::Icmp(Icmp(it)))].boxed()
        }
        (Some(ICMP6), Family::V6) => prop_oneof![
            any_protocol,
            negatable(type_code(255)).prop_map(|it| Match::Icmp6(Icmp6(it)))
        ]
        .boxed(),
        _ => any_protocol.boxed(),
    }
}

fn ip_range(family: Family) -> impl Strategy<Value = IpRange> {
    let range = || match family {
        Family::V4 => any::<[Ipv4Addr; 2]>()
            .prop_map(|[low, high]| AddressRange::V4 { low, high })
            .boxed(),
        Family::V6 => any::<[Ipv6Addr; 2]>()
            .prop_map(|[low, high]| AddressRange::V6 { low, high })
            .boxed(),
    };
    (of(negatable(range())), of(negatable(range()))).prop_filter_map(
        "one range at least",
        |(source, destination)| {
            (source.is_some() || destination.is_some()).then_some(IpRange {
                source,
                destination,
            })
        },
    )
}

fn length() -> impl Strategy<Value = Range<u16>> {
    any::<[u16; 2]>().prop_map(|[low, high]| Range { low, high })
}

fn packet_type() -> impl Strategy<Value = PacketType> {
    select(vec![
        PacketType::Unicast,
        PacketType::Broadcast,
        PacketType::Multicast,
        PacketType::OtherHost,
    ])
}

/// Seconds that the tool does not print with a sign.
fn recent(family: Family) -> impl Strategy<Value = Recent> {
    let check = select(vec![
        Check::Set,
        Check::Rcheck,
        Check::Update,
        Check::Remove,
    ]);
    let mask = match family {
        Family::V4 => any::<Ipv4Addr>().prop_map(IpAddr::V4).boxed(),
        Family::V6 => any::<Ipv6Addr>().prop_map(IpAddr::V6).boxed(),
    };
    let side = select(vec![RecentSide::Source, RecentSide::Destination]);
    let tests = (
        of(1..=0x7fff_ffff_u32),
        any::<bool>(),
        of(1..=u16::MAX),
        any::<bool>(),
    );
    (negatable(check), tests, "[a-zA-Z0-9_]{1,20}", mask, side).prop_map(
        |(check, (seconds, reap, hit_count, ttl), name, mask, side)| {
            let has_tests = matches!(check.value.value, Check::Rcheck | Check::Update);
            Recent {
                check,
                seconds: seconds.filter(|_| has_tests),
                reap: reap && has_tests && seconds.is_some(),
                hit_count: hit_count.filter(|_| has_tests),
                ttl: ttl && has_tests,
                name: name.into(),
                mask,
                side,
            }
        },
    )
}

fn addrtype(family: Family) -> impl Strategy<Value = Addrtype> {
    let mut kinds = vec![
        AddressType::Unspec,
        AddressType::Unicast,
        AddressType::Local,
        AddressType::Anycast,
        AddressType::Multicast,
        AddressType::Unreachable,
    ];
    if family == Family::V4 {
        kinds.extend([AddressType::Broadcast, AddressType::Prohibit]);
        kinds.sort();
    }
    let count = kinds.len();
    let types = move || negatable(subsequence(kinds.clone(), 1..=count));
    (types(), of(types())).prop_map(|(destination, source)| Addrtype {
        source,
        destination: Some(destination),
        device: None,
    })
}

fn masked() -> impl Strategy<Value = Masked> {
    let mask = prop_oneof![Just(u32::MAX), any::<u32>()];
    (any::<u32>(), mask).prop_map(|(value, mask)| Masked { value, mask })
}

fn bound() -> impl Strategy<Value = Bound> {
    select(vec![Bound::UpTo, Bound::Above])
}

fn connlimit(family: Family) -> impl Strategy<Value = Connlimit> {
    let by = select(vec![By::Source, By::Destination]);
    (bound(), any::<u32>(), 0..=longest_prefix(family), by).prop_map(
        |(bound, limit, prefix_length, by)| Connlimit {
            bound,
            limit,
            prefix_length,
            by,
        },
    )
}

/// Limits of packets; rates of a number a second or a minute, for which bursts of this size never
/// overflow.
fn hashlimit(family: Family) -> impl Strategy<Value = Hashlimit> {
    let average = prop_oneof![
        (1..=10_000_u64).prop_map(|n| 1_000_000 / n),
        (1..=59_u64).prop_map(|n| 60_000_000 / n)
    ];
    let rate = (average, 1..=100_u64).prop_map(|(average, burst)| Rate::Packets { average, burst });
    let key = any::<[bool; 4]>().prop_map(|bits| Key {
        source_address: bits[0],
        source_port: bits[1],
        destination_address: bits[2],
        destination_port: bits[3],
    });
    let length = || of(0..longest_prefix(family));
    (
        (bound(), rate, key, "[a-z][a-z0-9_.-]{0,30}"),
        (0..=1_048_576_u32, 0..=1_048_576_u32),
        (1..=u32::MAX, 1..=u32::MAX),
        (length(), length()),
    )
        .prop_map(
            |(
                (bound, rate, key, name),
                (size, max),
                (gc_interval, expire),
                (source_length, destination_length),
            )| Hashlimit {
                bound,
                rate,
                key,
                name: name.into(),
                size,
                max,
                gc_interval,
                expire,
                source_length,
                destination_length,
                interval: None,
            },
        )
}

fn longest_prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

fn conntrack(family: Family) -> impl Strategy<Value = Conntrack> {
    let statuses =
        any::<[bool; 4]>().prop_map(|[expected, seen_reply, assured, confirmed]| Statuses {
            expected,
            seen_reply,
            assured,
            confirmed,
        });
    let tuple = || {
        let address = || of(negatable(prefix(family)));
        (address(), address(), port_test(), port_test()).prop_map(
            |(source, destination, source_ports, destination_ports)| {
                Box::new(Tuple {
                    source,
                    destination,
                    source_ports,
                    destination_ports,
                })
            },
        )
    };
    let direction = of(select(vec![Direction::Original, Direction::Reply]));
    (
        negatable(states(7)),
        weighted(0.2, negatable(any::<u8>())),
        tuple(),
        tuple(),
        weighted(0.2, negatable(statuses)),
        weighted(0.1, negatable(number_range())),
        direction,
    )
        .prop_map(
            |(states, protocol, original, reply, statuses, expiry, direction)| Conntrack {
                states: Some(states),
                protocol,
                original,
                reply,
                statuses,
                expiry,
                direction,
            },
        )
}

fn prefix(family: Family) -> BoxedStrategy<Prefix> {
    match family {
        Family::V4 => (any::<Ipv4Addr>(), 0..=32_u8)
            .prop_map(|(address, length)| Prefix {
                address: address.into(),
                length,
            })
            .boxed(),
        Family::V6 => (any::<Ipv6Addr>(), 0..=128_u8)
            .prop_map(|(address, length)| Prefix {
                address: address.into(),
                length,
            })
            .boxed(),
    }
}

fn number_range() -> impl Strategy<Value = Range<u32>> {
    prop_oneof![
        any::<u32>().prop_map(|number| Range {
            low: number,
            high: number
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| Range {
            low: a.min(b),
            high: a.max(b)
        }),
    ]
}

fn tcp() -> impl Strategy<Value = Tcp> {
    let flags = (1..0x40_u8, 0..0x40_u8).prop_map(|(mask, set)| Flags { mask, set });
    (
        port_test(),
        port_test(),
        of(negatable(flags)),
        weighted(0.1, negatable(1..=255_u8)),
    )
        .prop_map(|(source_ports, destination_ports, flags, option)| Tcp {
            source_ports,
            destination_ports,
            flags,
            option,
        })
}

fn udp() -> impl Strategy<Value = Udp> {
    (port_test(), port_test()).prop_map(|(source_ports, destination_ports)| Udp {
        source_ports,
        destination_ports,
    })
}

fn port_test() -> impl Strategy<Value = Option<Negatable<PortRange>>> {
    of(negatable(port_range().prop_filter(
        "a test for all ports is not printed",
        |range| !range.is_everything(),
    )))
}

fn port_range() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        any::<u16>().prop_map(|port| PortRange {
            low: port,
            high: port
        }),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange {
            low: a.min(b),
            high: a.max(b)
        }),
    ]
}

/// At most seven ranges, which take fourteen of the fifteen slots.
fn port_list() -> impl Strategy<Value = Vec<PortRange>> {
    vec(port_range(), 1..=7)
}

fn type_code(greatest: u8) -> impl Strategy<Value = TypeCode> {
    (0..=greatest, of(any::<u8>())).prop_map(|(kind, code)| TypeCode {
        kind,
        code_low: code.unwrap_or(0),
        code_high: code.unwrap_or(255),
    })
}

fn states(count: usize) -> impl Strategy<Value = States> {
    vec(any::<bool>(), count).prop_filter_map("one state at least", |bits| {
        let bit = |at: usize| bits.get(at).copied().unwrap_or(false);
        bits.contains(&true).then(|| States {
            invalid: bit(0),
            new: bit(1),
            related: bit(2),
            established: bit(3),
            untracked: bit(4),
            snat: bit(5),
            dnat: bit(6),
        })
    })
}

/// Rates of a number a second or a minute, for which bursts of this size never overflow.
fn limit() -> impl Strategy<Value = Limit> {
    let average = prop_oneof![
        (1..=10_000_u32).prop_map(|n| 10_000 / n),
        (1..=59_u32).prop_map(|n| 600_000 / n)
    ];
    (average, 1..=100_u32).prop_map(|(average, burst)| Limit { average, burst })
}

fn set() -> impl Strategy<Value = Set> {
    let sides = vec(
        select(vec![set::Side::Source, set::Side::Destination]),
        1..=6,
    );
    let lookup = ("[A-Za-z0-9_.:-]{1,31}", sides).prop_map(|(name, sides)| Lookup { name, sides });
    let counter = || {
        let test = (select(vec![0, 1, 2, 3]), any::<u64>());
        let test = test.prop_map(|(kind, count)| match kind {
            0 => Comparison::Equal(count),
            1 => Comparison::Unequal(count),
            2 => Comparison::Less(count),
            _ => Comparison::Greater(count),
        });
        weighted(0.2, test)
    };
    (negatable(lookup), any::<[bool; 3]>(), counter(), counter()).prop_map(
        |(lookup, switches, packets, bytes)| {
            let [return_nomatch, update_counters, update_subcounters] = switches;
            Set {
                lookup,
                return_nomatch,
                update_counters,
                update_subcounters,
                packets,
                bytes,
            }
        },
    )
}

fn statistic() -> impl Strategy<Value = Statistic> {
    let nth = (negatable(1..=u32::MAX), any::<u32>()).prop_map(|(every, packet)| {
        let packet = packet % every.value.value;
        Statistic::Nth { every, packet }
    });
    prop_oneof![
        negatable(0..=0x8000_0000_u32).prop_map(|probability| Statistic::Random { probability }),
        nth,
    ]
}

fn string() -> impl Strategy<Value = StringMatch> {
    let byte = prop_oneof![8 => 0x20..0x7f_u8, 1 => any::<u8>()];
    let pattern = negatable(vec(byte, 1..=128).prop_map(BString::from));
    let algorithm = select(vec![Algorithm::BoyerMoore, Algorithm::KnuthPrattMorris]);
    let ends = (any::<u16>(), any::<u16>());
    (pattern, algorithm, ends, any::<bool>()).prop_map(
        |(pattern, algorithm, (a, b), ignore_case)| StringMatch {
            pattern,
            algorithm,
            from: a.min(b),
            to: a.max(b),
            ignore_case,
        },
    )
}

fn tcpmss() -> impl Strategy<Value = Tcpmss> {
    negatable(port_range().prop_map(|range| range.low..=range.high)).prop_map(|mss| Tcpmss { mss })
}

/// Times that can come: an empty list of days, or a stop in the first second of 1970, is not printed.
fn time() -> impl Strategy<Value = Time> {
    /// The first second of 2039, which cannot be written.
    const END: u32 = 2_177_452_800;
    let dates = (0..END, 1..END);
    let hours = (0..86_400_u32, 0..86_400_u32);
    let days = (1..=0x7f_u8, 1..=0x7fff_ffff_u32);
    (dates, hours, days, any::<[bool; 2]>()).prop_map(
        |((a, b), (day_start, day_stop), (weekdays, monthdays), switches)| Time {
            first_second: a.min(b),
            last_second: a.max(b),
            day_start,
            day_stop,
            weekdays: weekdays << 1,
            monthdays: monthdays << 1,
            kernel_timezone: switches[0],
            contiguous: switches[1] && day_start >= day_stop,
        },
    )
}

fn tos() -> impl Strategy<Value = Tos> {
    let tos = (any::<u8>(), any::<u8>()).prop_map(|(value, mask)| TosMask { value, mask });
    negatable(tos).prop_map(|tos| Tos { tos })
}

/// Few tests, as a word of a rule has at most 1023 bytes.
fn u32_tests() -> impl Strategy<Value = U32> {
    let step = prop_oneof![
        any::<u32>().prop_map(Step::And),
        (0..32_u32).prop_map(Step::ShiftLeft),
        (0..32_u32).prop_map(Step::ShiftRight),
        any::<u32>().prop_map(Step::Move),
    ];
    let range = (any::<u32>(), any::<u32>()).prop_map(|(low, high)| low..=high);
    let test = (any::<u32>(), vec(step, 0..=9), vec(range, 1..=4));
    let test = test.prop_map(|(offset, steps, values)| Test {
        offset,
        steps,
        values,
    });
    negatable(vec(test, 1..=3)).prop_map(|tests| U32 { tests })
}

fn action(
    family: Family,
    kind: TableKind,
    protocol: Option<u8>,
    targets: Vec<String>,
) -> BoxedStrategy<Action> {
    let mut verdicts = vec![Verdict::Accept, Verdict::Return, Verdict::Queue];
    if kind != TableKind::Nat {
        verdicts.push(Verdict::Drop);
    }
    let mut actions = vec![
        (1, Just(Action::Continue).boxed()),
        (4, select(verdicts).prop_map(Action::Verdict).boxed()),
        (
            1,
            log()
                .prop_map(|log| Action::Target(spanned(Target::Log(log))))
                .boxed(),
        ),
    ];
    if !targets.is_empty() {
        actions.push((
            2,
            select(targets.clone())
                .prop_map(|chain| Action::Jump(spanned(chain)))
                .boxed(),
        ));
        actions.push((
            1,
            select(targets)
                .prop_map(|chain| Action::Goto(spanned(chain)))
                .boxed(),
        ));
    }
    if kind == TableKind::Filter {
        let mut answers = match family {
            Family::V4 => vec![
                RejectWith::IcmpNetUnreachable,
                RejectWith::IcmpHostUnreachable,
                RejectWith::IcmpProtoUnreachable,
                RejectWith::IcmpPortUnreachable,
                RejectWith::IcmpNetProhibited,
                RejectWith::IcmpHostProhibited,
                RejectWith::IcmpAdminProhibited,
            ],
            Family::V6 => vec![
                RejectWith::Icmp6NoRoute,
                RejectWith::Icmp6AdmProhibited,
                RejectWith::Icmp6AddrUnreachable,
                RejectWith::Icmp6PortUnreachable,
                RejectWith::Icmp6PolicyFail,
                RejectWith::Icmp6RejectRoute,
            ],
        };
        if protocol == Some(TCP) {
            answers.push(RejectWith::TcpReset);
        }
        let reject = select(answers)
            .prop_map(|with| Action::Target(spanned(Target::Reject(Reject { with }))));
        actions.push((1, reject.boxed()));
    }
    proptest::strategy::Union::new_weighted(actions).boxed()
}

fn log() -> impl Strategy<Value = Log> {
    (0..=7_u8, vec(text_byte(), 0..=29), any::<[bool; 5]>()).prop_map(
        |(level, prefix, switches)| {
            let [tcp_sequence, tcp_options, ip_options, uid, mac_decode] = switches;
            Log {
                level,
                prefix: BString::from(prefix),
                tcp_sequence,
                tcp_options,
                ip_options,
                uid,
                mac_decode,
            }
        },
    )
}

/// Any byte that a line of text can hold: a NUL or a newline ends it.
fn text_byte() -> impl Strategy<Value = u8> {
    let printable = prop_oneof![8 => 0x20..0x7f_u8, 1 => any::<u8>()];
    printable.prop_filter("ends the line", |&byte| byte != 0 && byte != b'\n')
}

fn counters() -> impl Strategy<Value = Counters> {
    let count = || prop_oneof![Just(0), 0..1_000_000_u64, any::<u64>()];
    (count(), count()).prop_map(|(packets, bytes)| Counters { packets, bytes })
}

fn negatable<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Negatable<T>> {
    (proptest::bool::weighted(0.25), value).prop_map(|(negated, value)| Negatable {
        negated,
        value: spanned(value),
    })
}

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: Span::default(),
    }
}
