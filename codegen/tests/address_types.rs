//! `-m addrtype`: programs look types up as the reference does.

mod common;
mod support;

use std::net::IpAddr;

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::addresses::{AddressEntry, AddressPrefix};
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::matches::addrtype::NAMES;
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use support::judges::check_with_addresses;
use support::texts::filter;
use support::universe::packets;

const TYPES6: [&str; 5] = ["UNSPEC", "UNICAST", "LOCAL", "ANYCAST", "MULTICAST"];

fn types(family: Family) -> impl Strategy<Value = String> {
    let names = match family {
        Family::V4 => NAMES.map(|(name, _)| name).to_vec(),
        Family::V6 => TYPES6.to_vec(),
    };
    subsequence(names, 1..4).prop_map(|names| names.join(","))
}

/// A rule of a chain, limited by this option or not.
fn rule(family: Family, chain: &'static str, limit: &'static str) -> impl Strategy<Value = String> {
    let option = move |name: &'static str| {
        (select(&["", "! "][..]), types(family))
            .prop_map(move |(not, it)| format!("{not}--{name} {it}"))
    };
    let tests = prop_oneof![
        option("src-type"),
        option("dst-type"),
        (option("src-type"), option("dst-type")).prop_map(|(a, b)| format!("{a} {b}")),
    ];
    let limits = select(vec!["", limit]);
    let verdicts = select(&["ACCEPT", "DROP", "RETURN"][..]);
    (tests, limits, verdicts).prop_map(move |(tests, limit, verdict)| {
        format!("-A {chain} -m addrtype {tests} {limit} -j {verdict}\n")
    })
}

fn rules(family: Family) -> impl Strategy<Value = String> {
    let rule = prop_oneof![
        rule(family, "INPUT", "--limit-iface-in"),
        rule(family, "FORWARD", "--limit-iface-in"),
        rule(family, "OUTPUT", "--limit-iface-out"),
    ];
    vec(rule, 1..5).prop_map(|rules| rules.concat())
}

/// Some of the addresses that packets have, and networks around them.
fn entries(family: Family) -> impl Strategy<Value = Vec<AddressEntry>> {
    let prefixes: &[(&str, u8)] = match family {
        Family::V4 => &[
            ("10.0.0.1", 32),
            ("10.0.0.130", 32),
            ("10.0.0.128", 25),
            ("10.0.0.0", 8),
            ("0.0.0.0", 0),
        ],
        Family::V6 => &[
            ("2001:db8::1", 128),
            ("2001:db8::8000:1", 128),
            ("2001:db8::", 32),
            ("fe80::1", 128),
            ("::1", 128),
            ("::", 0),
        ],
    };
    let scopes = match family {
        Family::V4 => vec![0],
        Family::V6 => vec![0, 0, 1, 2],
    };
    let entry = (select(prefixes), select(scopes), 1..8u8, 0..4u32);
    let entry =
        entry.prop_map(
            move |((address, length), scope, route_type, interface)| AddressEntry {
                family,
                prefix: Some(AddressPrefix {
                    address: address.parse::<IpAddr>().expect("an address"),
                    length,
                    scope,
                }),
                route_type,
                interface,
            },
        );
    let filled = vec(entry, 0..6).prop_map(move |mut entries| {
        // One entry for a prefix, as maps have it.
        entries.sort_by_key(|it| it.key());
        entries.dedup_by_key(|it| it.key());
        entries.push(AddressEntry::rest(family));
        entries
    });
    prop_oneof![1 => Just(Vec::new()), 6 => filled]
}

fn world(family: Family) -> impl Strategy<Value = (String, Vec<AddressEntry>)> {
    (rules(family), entries(family))
}

proptest! {
    #[test]
    fn bytecode_is_reference(
        four in world(Family::V4),
        six in world(Family::V6),
        drawn in packets(60),
    ) {
        for (family, (rules, entries)) in [(Family::V4, four), (Family::V6, six)] {
            check_with_addresses(&filter(family, &rules), &drawn, &Options::default(), &entries)?;
        }
    }
}

#[test]
fn the_verifier_takes_it() {
    if !may_load() {
        return;
    }
    let rules = "-A INPUT -m addrtype --src-type LOCAL ! --dst-type LOCAL -j DROP
-A INPUT -m addrtype --dst-type LOCAL,ANYCAST --limit-iface-in -j DROP
-A OUTPUT -m addrtype --src-type LOCAL --limit-iface-out -j DROP";
    let mut rulesets = filter(Family::V4, rules);
    rulesets.extend(filter(Family::V6, rules));
    for target_kernel in [
        Some(KernelVersion::BASELINE),
        Some(KernelVersion::GLOBAL_POINTERS),
    ] {
        let options = Options {
            target_kernel,
            ..Options::default()
        };
        let compiled = compile(&rulesets, &options).expect("compiles");
        for hook in Hook::ALL {
            loads(&compiled.module, hook);
        }
    }
}

#[test]
fn what_no_hook_knows_is_refused() {
    for (family, rule, hook) in [
        (
            Family::V6,
            "-A INPUT -m addrtype --dst-type UNREACHABLE -j DROP",
            Hook::CgroupIngress,
        ),
        (
            Family::V4,
            "-A FORWARD -m addrtype --src-type LOCAL --limit-iface-out -j DROP",
            Hook::Xdp,
        ),
    ] {
        let options = Options {
            hooks: vec![hook],
            ..Options::default()
        };
        let said = compile(&filter(family, rule), &options).expect_err("is refused");
        assert_eq!(said[0].code, "unseen", "{said:?}");
    }
}
