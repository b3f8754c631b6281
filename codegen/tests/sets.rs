//! `-m set`: the bytecode finds in sets what the reference finds, for sets of every type.

mod support;

use ipt2bpf_codegen::compile::translate;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ipset::Set;
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Names, ipset};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::{check, check_with_live_sets};
use support::texts::filter;
use support::universe::packets;

/// What a part of an element may be, in words of the tool.
#[derive(Clone, Copy, Debug)]
enum Part {
    Address,
    Network,
    Port,
    PlainPort,
    Mac,
    Mark,
    Interface,
}

/// The types with what their elements are made of. The last says whether an element may be an exception.
const TYPES: [(&str, &[Part], bool); 13] = [
    ("hash:ip", &[Part::Address], false),
    ("hash:net", &[Part::Network], true),
    ("hash:ip,port", &[Part::Address, Part::Port], false),
    ("hash:net,port", &[Part::Network, Part::Port], true),
    (
        "hash:ip,port,ip",
        &[Part::Address, Part::Port, Part::Address],
        false,
    ),
    (
        "hash:ip,port,net",
        &[Part::Address, Part::Port, Part::Network],
        true,
    ),
    ("hash:net,net", &[Part::Network, Part::Network], true),
    (
        "hash:net,port,net",
        &[Part::Network, Part::Port, Part::Network],
        true,
    ),
    ("hash:net,iface", &[Part::Network, Part::Interface], true),
    ("hash:mac", &[Part::Mac], false),
    ("hash:ip,mac", &[Part::Address, Part::Mac], false),
    ("hash:ip,mark", &[Part::Address, Part::Mark], false),
    ("bitmap:port", &[Part::PlainPort], false),
];

fn part(kind: Part, family: Family) -> BoxedStrategy<String> {
    let addresses4 = [
        "10.0.0.1",
        "10.0.0.130",
        "10.9.0.1",
        "224.0.0.5",
        "10.0.0.2",
    ];
    let addresses6 = [
        "2001:db8::1",
        "2001:db8::8000:1",
        "2001:db8:9::1",
        "fe80::1",
        "::1",
    ];
    let address = match family {
        Family::V4 => select(addresses4.to_vec()).boxed(),
        Family::V6 => select(addresses6.to_vec()).boxed(),
    };
    let lengths = match family {
        Family::V4 => vec![1, 4, 8, 12, 16, 24, 25, 30, 31, 32],
        Family::V6 => vec![1, 10, 32, 33, 48, 64, 97, 127, 128],
    };
    match kind {
        Part::Address => address.prop_map(str::to_owned).boxed(),
        Part::Network => (address, select(lengths))
            .prop_map(|(address, length)| format!("{address}/{length}"))
            .boxed(),
        Part::Port => {
            let icmp = match family {
                Family::V4 => "icmp:8/0",
                Family::V6 => "icmpv6:128/0",
            };
            let ports = [
                "tcp:22",
                "tcp:80",
                "udp:53",
                "udp:0",
                "sctp:22",
                "udplite:80",
                "47:0",
                "50:0",
                icmp,
            ];
            select(ports.to_vec()).prop_map(str::to_owned).boxed()
        }
        Part::PlainPort => select(vec!["22", "53", "80", "0"])
            .prop_map(str::to_owned)
            .boxed(),
        Part::Mac => select(vec!["02:00:00:00:00:02", "02:00:5E:10:00:02"])
            .prop_map(str::to_owned)
            .boxed(),
        Part::Mark => select(vec!["0x5", "0xff000005", "0x1"])
            .prop_map(str::to_owned)
            .boxed(),
        Part::Interface => select(vec!["lo", "eth0", "eth1", "eth", "wlan0", "physdev:eth0"])
            .prop_map(str::to_owned)
            .boxed(),
    }
}

/// A set's text: its `create` line and its elements.
fn set(name: &'static str, family: Family) -> impl Strategy<Value = String> {
    let kinds = prop::sample::select(&TYPES[..]);
    (kinds, weighted(0.3, Just(()))).prop_flat_map(move |((kind, parts, exceptions), timeout)| {
        let elements: Vec<_> = parts.iter().map(|&it| part(it, family)).collect();
        let options = (
            weighted(if exceptions { 0.3 } else { 1e-9 }, Just(())),
            weighted(0.7, 1..5u8),
            any::<bool>(),
        );
        vec((elements, options), 0..12).prop_map(move |entries| {
            let own = match (kind, family) {
                ("bitmap:port", _) => "range 0-1023",
                ("hash:mac", _) => "",
                (_, Family::V4) => "family inet",
                (_, Family::V6) => "family inet6",
            };
            let timeout_option = timeout.map_or("", |()| " timeout 0");
            let mut text = format!("create {name} {kind} {own}{timeout_option}\n");
            for (parts, (nomatch, seconds, wildcard)) in entries {
                text += &format!("add -exist {name} {}", parts.join(","));
                if let (Some(()), Some(seconds)) = (timeout, seconds) {
                    text += &format!(" timeout {seconds}");
                }
                if nomatch.is_some() {
                    text += " nomatch";
                }
                if kind == "hash:net,iface" && wildcard {
                    text += " wildcard";
                }
                text += "\n";
            }
            text
        })
    })
}

/// A rule that asks a set.
fn rule() -> impl Strategy<Value = String> {
    let sides = select(vec![
        "src,src,dst",
        "dst,dst,src",
        "src,dst,dst",
        "dst,src,src",
        "src,src",
        "src",
        "dst",
    ]);
    let names = select(vec!["a", "b", "c", "all"]);
    let verdicts = select(vec!["ACCEPT", "DROP", "RETURN"]);
    let chains = select(vec!["INPUT", "OUTPUT", "FORWARD"]);
    (names, sides, any::<bool>(), any::<bool>(), verdicts, chains).prop_map(
        |(name, sides, inverted, nomatch, verdict, chain)| {
            let inverted = if inverted { "! " } else { "" };
            let nomatch = if nomatch { " --return-nomatch" } else { "" };
            format!(
                "-A {chain} -m set {inverted}--match-set {name} {sides}{nomatch} -j {verdict}\n"
            )
        },
    )
}

/// The sets of a text without errors.
fn sets(text: &str) -> Vec<Set> {
    let mut sources = Sources::default();
    let id = sources.add("sets", text);
    let parsed = ipset::parse(&sources, &[id], &Names::default());
    let error = parsed
        .diagnostics
        .iter()
        .find(|it| it.severity == Severity::Error);
    assert!(error.is_none(), "{error:?} in {text}");
    parsed.sets
}

fn options(hook: Hook, text: &str) -> Options {
    Options {
        hooks: vec![hook],
        sets: Sets::new(&sets(text)),
        ..Options::default()
    }
}

fn ruleset_of_sets() -> impl Strategy<Value = (Family, String, String)> {
    select(vec![Family::V4, Family::V6]).prop_flat_map(|family| {
        let texts = (set("a", family), set("b", family), set("c", family));
        let timeout = weighted(0.3, 1..5u8);
        (texts, timeout, vec(rule(), 1..8)).prop_map(move |((a, b, c), timeout, rules)| {
            let (create, add) = match timeout {
                Some(seconds) => (" timeout 0", format!(" timeout {seconds}")),
                None => ("", String::new()),
            };
            let list =
                format!("create all list:set{create}\nadd all b{add}\nadd all a\nadd all c\n");
            (family, [a, b, c, list].concat(), rules.concat())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn sets_of_every_type((family, text, rules) in ruleset_of_sets(), drawn in packets(60)) {
        let rulesets = filter(family, &rules);
        for hook in Hook::ALL {
            let options = options(hook, &text);
            // Ethernet addresses cannot be seen at every hook.
            let (_, _, said) = translate(&rulesets, &options);
            if said.iter().any(|it| it.severity == Severity::Error) {
                prop_assert!(text.contains("mac"), "{:?}", said);
                continue;
            }
            let result = check(&rulesets, &drawn, &options);
            prop_assert!(result.is_ok(), "{}\n{}", text, result.unwrap_err());
        }
    }

    #[test]
    fn sets_that_can_be_changed((family, text, rules) in ruleset_of_sets(), drawn in packets(60)) {
        let rulesets = filter(family, &rules);
        // Their times are those of another clock.
        let lines = text.lines().map(|line| match line.split_once(" timeout ") {
            Some((before, after)) => {
                let (_, others) = after.split_once(' ').unwrap_or_default();
                format!("{before} {others}\n")
            }
            None => format!("{line}\n"),
        });
        let text: String = lines.collect();
        for hook in Hook::ALL {
            let options = Options { live_sets: true, ..options(hook, &text) };
            let (_, _, said) = translate(&rulesets, &options);
            if said.iter().any(|it| it.severity == Severity::Error) {
                prop_assert!(text.contains("mac"), "{:?}", said);
                continue;
            }
            let result = check_with_live_sets(&rulesets, &drawn, &options, &sets(&text));
            prop_assert!(result.is_ok(), "{}\n{}", text, result.unwrap_err());
        }
    }

    #[test]
    fn sets_that_rules_change(
        (family, text, rules) in ruleset_of_changes(),
        drawn in packets(80),
    ) {
        let rulesets = filter(family, &rules);
        for hook in Hook::ALL {
            let options = options(hook, &text);
            let (_, _, said) = translate(&rulesets, &options);
            if said.iter().any(|it| it.severity == Severity::Error) {
                prop_assert!(text.contains("mac"), "{:?}", said);
                continue;
            }
            let result = check_with_live_sets(&rulesets, &drawn, &options, &sets(&text));
            prop_assert!(result.is_ok(), "{}\n{}", text, result.unwrap_err());
        }
    }
}

/// Types that rules may change.
const CHANGEABLE: [&str; 8] = [
    "hash:ip",
    "hash:ip,port",
    "hash:ip,port,ip",
    "hash:mac",
    "hash:ip,mac",
    "hash:ip,mark",
    "bitmap:port",
    "bitmap:ip",
];

/// A set with room for few, whose elements may go.
fn changeable(name: &'static str, family: Family) -> impl Strategy<Value = String> {
    let kinds = select(CHANGEABLE.to_vec());
    (kinds, weighted(0.6, 0..4u8), 1..4u8, any::<bool>()).prop_map(
        move |(kind, timeout, room, masked)| {
            let own = match (kind, family) {
                ("bitmap:port", _) => "range 20-60".to_owned(),
                ("bitmap:ip", _) if masked => "range 10.0.0.0-10.8.255.255 netmask 24".to_owned(),
                ("bitmap:ip", _) => "range 10.0.0.0-10.0.0.255".to_owned(),
                ("hash:mac", _) => format!("maxelem {room}"),
                ("hash:ip", Family::V4) if masked => {
                    format!("family inet maxelem {room} netmask 24")
                }
                (_, Family::V4) => format!("family inet maxelem {room}"),
                (_, Family::V6) => format!("family inet6 maxelem {room}"),
            };
            let timeout = timeout.map_or(String::new(), |it| format!(" timeout {it}"));
            format!("create {name} {kind} {own}{timeout}\n")
        },
    )
}

/// A rule that changes a set, or asks one.
fn change() -> impl Strategy<Value = String> {
    let sides = select(vec!["src,src,dst", "dst,dst,src", "src,dst,dst", "src"]);
    let names = select(vec!["a", "b"]);
    let chains = select(vec!["INPUT", "OUTPUT", "FORWARD"]);
    let exist = any::<bool>();
    let seconds = weighted(0.5, 0..4u8);
    (names, sides, chains, exist, seconds, 0..5u8).prop_map(
        |(name, sides, chain, exist, seconds, what)| match what {
            0 | 1 => {
                let exist = if exist { " --exist" } else { "" };
                let seconds = seconds.map_or(String::new(), |it| format!(" --timeout {it}"));
                format!("-A {chain} -j SET --add-set {name} {sides}{exist}{seconds}\n")
            }
            2 => format!(
                "-A {chain} -m statistic --mode nth --every 3 --packet 0 -j SET --del-set {name} {sides}\n"
            ),
            3 => format!("-A {chain} -m set --match-set {name} {sides}\n"),
            _ => format!("-A {chain} -m set ! --match-set all {sides}\n"),
        },
    )
}

fn ruleset_of_changes() -> impl Strategy<Value = (Family, String, String)> {
    select(vec![Family::V4, Family::V6]).prop_flat_map(|family| {
        let texts = (changeable("a", family), changeable("b", family));
        (texts, vec(change(), 3..10)).prop_map(move |((a, b), rules)| {
            let list = "create all list:set\nadd all a\nadd all b\n".to_owned();
            (family, [a, b, list].concat(), rules.concat())
        })
    })
}

/// What cannot be said exactly of a set that a rule changes is refused by the set's name.
#[test]
fn changes_that_chance_or_the_other_elements_decide_are_refused() {
    let reason = |set: &str, rule: &str| {
        let rulesets = filter(Family::V4, &format!("-A INPUT -j SET {rule}\n"));
        let (_, _, said) = translate(&rulesets, &options(Hook::CgroupIngress, set));
        let error = said.iter().find(|it| it.severity == Severity::Error);
        error.map(|it| it.message.clone()).unwrap_or_default()
    };
    let cases = [
        ("create a hash:net\n", "--add-set a src", "prefix length"),
        (
            "create a hash:net,iface\n",
            "--del-set a src,src",
            "interfaces",
        ),
        (
            "create a hash:net,net\n",
            "--del-set a src,dst",
            "prefix length",
        ),
        (
            "create a bitmap:ip,mac range 10.0.0.0/24\n",
            "--add-set a src,src",
            "Ethernet",
        ),
        ("create a hash:ip forceadd\n", "--add-set a src", "chance"),
        (
            "create b hash:ip\ncreate a list:set\nadd a b\n",
            "--add-set a src",
            "the first of its sets",
        ),
    ];
    for (set, rule, part) in cases {
        let said = reason(set, rule);
        assert!(
            said.contains("the set a") && said.contains(part),
            "{set}: {said}"
        );
    }
    assert_eq!(reason("create a hash:ip forceadd\n", "--del-set a src"), "");
    assert_eq!(
        reason("create a hash:net family inet6\n", "--add-set a src"),
        ""
    );
}
