//! A small universe: few addresses, ports and names, so that random rules and random packets meet.

mod matches;
mod packets;

use std::net::{Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::ruleset::{
    Action, BaseMatch, Builtin, Chain, Counters, Family, InterfacePattern, Negatable, Network,
    NfHook, Policy, Rule, RuleSpan, Ruleset, Table, TableKind, Verdict,
};
use ipt2bpf_parser::span::{Span, Spanned};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

pub use matches::Seen;
use matches::{header_match, protocol_and_matches, protocol_match};
pub use packets::{Packet, packets};

/// The interfaces; index n has ifindex n + 1.
pub const INTERFACES: [&str; 4] = ["lo", "eth0", "eth1", "wlan0"];
const ADDRESSES4: [[u8; 4]; 5] = [
    [10, 0, 0, 1],
    [10, 0, 0, 130],
    [10, 9, 0, 1],
    [0, 0, 0, 0],
    [224, 0, 0, 5],
];
const ADDRESSES6: [&str; 9] = [
    "2001:db8::1",
    "2001:db8::8000:1",
    "2001:db8:9::1",
    "2001:db8::ff:fe00:2",
    "fe80::1",
    "ff02::5",
    "::1",
    "ff01::5",
    "ff00::5",
];
const PORTS: [u16; 5] = [0, 22, 53, 80, 65535];
/// The least probability there is: what the tool would refuse has a meaning all the same.
const RARELY: f64 = 1e-9;
const PROTOCOLS: [u8; 12] = [1, 6, 17, 58, 132, 47, 59, 50, 51, 33, 135, 136];
/// The source addresses of frames; the first makes the third IPv6 address.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 2], [2, 0, 0x5e, 0x10, 0, 1]];
const MARKS: [u32; 3] = [0, 5, 0xff00_0005];
const PROCESSORS: [u32; 2] = [0, 3];

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

/// A rule in chain number `chain` of the table, which may jump only to later ones.
fn rule(
    family: Family,
    seen: Seen,
    hook: Option<NfHook>,
    later: Vec<String>,
) -> impl Strategy<Value = Rule> {
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
        protocol_and_matches(family, seen),
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

fn table(
    family: Family,
    seen: Seen,
    kind: TableKind,
    hooks: Vec<NfHook>,
) -> impl Strategy<Value = Table> {
    let users: Vec<String> = (0..4).map(|number| format!("user{number}")).collect();
    let mut chains: Vec<BoxedStrategy<Chain>> = Vec::new();
    for hook in hooks {
        let rules = vec(rule(family, seen, Some(hook), users.clone()), 0..6);
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
        let chain = vec(rule(family, seen, None, users[number + 1..].to_vec()), 0..5).prop_map(
            move |rules| Chain {
                name: name.clone(),
                builtin: None,
                counters: Counters::default(),
                rules,
                span: Span::default(),
            },
        );
        chains.push(chain.boxed());
    }
    chains.prop_map(move |chains| Table { kind, chains })
}

/// A ruleset whose rules have one match each and let packets go on, so that packets meet them all; those
/// that may drop a packet come last.
pub fn single_matches(family: Family, seen: Seen) -> impl Strategy<Value = Ruleset> {
    let rule = |(protocol, matches)| Rule {
        counters: Counters::default(),
        base: BaseMatch {
            protocol,
            ..BaseMatch::default()
        },
        matches,
        action: Action::Continue,
        span: RuleSpan::default(),
    };
    let chain = move |hook: NfHook| {
        let headers = vec(
            header_match(family, seen).prop_map(|found| (None, vec![spanned(found)])),
            8,
        );
        let protocols = vec(protocol_match(family), 8);
        (headers, protocols).prop_map(move |(headers, protocols)| Chain {
            name: hook.to_string(),
            builtin: Some(Builtin {
                hook,
                policy: Policy::Accept,
            }),
            counters: Counters::default(),
            rules: headers.into_iter().chain(protocols).map(rule).collect(),
            span: Span::default(),
        })
    };
    let chains = [NfHook::Input, NfHook::Forward, NfHook::Output].map(chain);
    chains.prop_map(move |chains| Ruleset {
        family,
        tables: vec![Table {
            kind: TableKind::Filter,
            chains: chains.into(),
        }],
    })
}

/// A ruleset of a family, with its tables, for all hooks.
pub fn ruleset(family: Family) -> impl Strategy<Value = Ruleset> {
    tables(family, Seen::Everywhere)
}

/// The same with what only XDP programs know.
pub fn xdp_ruleset(family: Family) -> impl Strategy<Value = Ruleset> {
    tables(family, Seen::AtXdp)
}

fn tables(family: Family, seen: Seen) -> impl Strategy<Value = Ruleset> {
    use NfHook::{Forward, Input, Output, Postrouting, Prerouting};
    let tables = (
        weighted(
            0.3,
            table(family, seen, TableKind::Raw, vec![Prerouting, Output]),
        ),
        weighted(
            0.3,
            table(
                family,
                seen,
                TableKind::Mangle,
                vec![Prerouting, Input, Forward, Output, Postrouting],
            ),
        ),
        weighted(
            0.9,
            table(
                family,
                seen,
                TableKind::Filter,
                vec![Input, Forward, Output],
            ),
        ),
    );
    tables.prop_map(move |(raw, mangle, filter)| Ruleset {
        family,
        tables: [raw, mangle, filter].into_iter().flatten().collect(),
    })
}
