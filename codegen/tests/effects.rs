//! Targets that tell of packets and let them go on: the bytecode tells what the reference does.

mod support;

use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{Options, XdpPath};
use ipt2bpf_codegen::semantic::{Action, Verdict};
use ipt2bpf_codegen::vm::{Context, Machine};
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::check;
use support::texts::{filter, rulesets};
use support::universe::packets;

/// The chains of the tables, the user chain of each last.
const TABLES: [(&str, &[&str]); 3] = [
    ("raw", &["PREROUTING", "OUTPUT", "own"]),
    (
        "mangle",
        &[
            "PREROUTING",
            "INPUT",
            "FORWARD",
            "OUTPUT",
            "POSTROUTING",
            "own",
        ],
    ),
    ("filter", &["INPUT", "FORWARD", "OUTPUT", "own"]),
];

/// What changes what later rules see. The family's own come by [`text`].
const CHANGES: [&str; 12] = [
    "-j MARK --set-xmark 0x17/0x33",
    "-j MARK --set-mark 3/0xf",
    "-j MARK --xor-mark 0xff00",
    "-j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-rnd 0x17 --hmark-mod 8",
    "-j HMARK --hmark-tuple dst,spi --hmark-src-prefix 20 --hmark-rnd 0 --hmark-mod 4 --hmark-offset 1",
    "-j TOS --set-tos 0x12/0x3f",
    "-j DSCP --set-dscp 9",
    "-j HOPS-set 64",
    "-j HOPS-set 0",
    "-j HOPS-inc 200",
    "-j HOPS-dec 100",
    "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
];

/// A rule's matches and target for a chain; only built-in chains jump.
fn rule(table: &'static str, chain: &'static str) -> impl Strategy<Value = String> {
    let mut targets = vec![
        "-j LOG --log-prefix x",
        "-j NFLOG --nflog-size 30",
        "-j NFLOG --nflog-group 7",
        "-j ACCEPT",
        "-j RETURN",
        "",
    ];
    match (table, chain) {
        ("raw", _) => targets.extend(["-j TRACE", "-j NOTRACK", "-j CT", "-j CT --notrack"]),
        ("mangle", "FORWARD" | "POSTROUTING") => {
            targets.extend(CHANGES);
            targets.push("-j CLASSIFY --set-class 1:2");
        }
        ("mangle", _) => targets.extend(CHANGES),
        _ => {}
    }
    if chain != "own" {
        targets.extend(["-j own", "-g own", "-j DROP"]);
    }
    let matches = select(
        &[
            "",
            "-m conntrack --ctstate UNTRACKED,NEW",
            "-m mark --mark 1/3",
            "-m tos --tos 0x2/0xf",
            "-m HOPS-eq 64",
            "-m HOPS-gt 60",
            "-m HOPS-lt 50",
            "-p tcp",
            "-p udp -m udp --dport 53",
            "-s ::/1",
            "-d 8.0.0.0/5",
        ][..],
    );
    (matches, select(targets)).prop_map(move |(matches, target)| {
        // A target that needs matches brings them.
        let matches = match target.starts_with("-p") {
            true => "",
            false => matches,
        };
        format!("-A {chain} {matches} {target}\n")
    })
}

/// The changes and tests of hops by the names that a family has for them.
fn in_words_of(family: Family, text: &str) -> String {
    let (target, matching, option) = match family {
        Family::V4 => ("TTL", "ttl", "ttl"),
        Family::V6 => ("HL", "hl", "hl"),
    };
    text.replace("-j HOPS-", &format!("-j {target} --{option}-"))
        .replace("-m HOPS-", &format!("-m {matching} --{option}-"))
}

fn table(name: &'static str, chains: &'static [&'static str]) -> impl Strategy<Value = String> {
    let rules: Vec<_> = chains
        .iter()
        .map(|chain| vec(rule(name, chain), 0..4).prop_map(|rules| rules.concat()))
        .collect();
    rules.prop_map(move |rules| format!("*{name}\n:own - [0:0]\n{}COMMIT\n", rules.concat()))
}

fn text() -> impl Strategy<Value = String> {
    let tables: Vec<_> = TABLES.map(|(name, chains)| table(name, chains)).into();
    tables.prop_map(|tables| tables.concat())
}

proptest! {
    #[test]
    fn what_is_told(text in text(), drawn in packets(20)) {
        for (family, other) in [(Family::V4, "::/1"), (Family::V6, "8.0.0.0/5")] {
            // The kernel hashes what programs do not see of IPv6.
            let refused = |line: &&str| family == Family::V6 && line.contains("-j HMARK");
            let lines = text.lines().filter(|line| !line.contains(other) && !refused(line));
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            let text = in_words_of(family, &text);
            for xdp_path in [XdpPath::Auto, XdpPath::Forward] {
                let options = Options { xdp_path, approximate: true, ..Options::default() };
                check(&rulesets(family, &text), &drawn, &options)?;
            }
        }
    }
}

/// `ip_mc_output` (net/ipv4/ip_output.c) asks between OUTPUT and POSTROUTING, if this host is in the group, and
/// sends it its copy.
#[test]
fn what_rules_leave_no_hop_is_not_sent_to_a_group() {
    let text = "*mangle\n-A OUTPUT -j TTL --ttl-dec 3\n-A POSTROUTING -j MARK --set-mark 1\nCOMMIT\n\
        *filter\n-A OUTPUT -p udp\nCOMMIT\n";
    let options = Options {
        hooks: vec![Hook::CgroupEgress],
        ..Options::default()
    };
    let errors = compile(&rulesets(Family::V4, text), &options).expect_err("refused");
    let mut errors = errors.iter().filter(|it| it.severity == Severity::Error);
    assert_eq!(errors.next().map(|it| it.code), Some("last-hop"));
    assert_eq!(errors.next(), None);
    let options = Options {
        approximate: true,
        ..options
    };
    let compiled = compile(&rulesets(Family::V4, text), &options).expect("compiles");
    let mut machine = Machine::new(&compiled.module).expect("runs");
    let mut sent = |hops: u8, destination: [u8; 4]| {
        let mut packet = [0; 28];
        packet[..12].copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, hops, 17, 0, 0]);
        packet[16..20].copy_from_slice(&destination);
        let mut context = Context::new(&packet);
        context.protocol = 0x0800;
        let result = machine.run(Hook::CgroupEgress, &context).expect("ends");
        result == 1
    };
    let (group, host) = ([224, 0, 0, 5], [192, 0, 2, 1]);
    assert!(sent(4, group), "one hop is left");
    assert!(!sent(3, group) && !sent(1, group), "none is left");
    assert!(sent(0, group), "this host's own copy");
    assert!(sent(3, host), "the kernel sends others without a hop");
}

#[test]
fn queues_are_refused_or_dropped() {
    for target in ["NFQUEUE --queue-num 1", "NFQUEUE --queue-bypass", "QUEUE"] {
        let rules = filter(Family::V4, &format!("-A INPUT -p tcp -j {target}"));
        let errors = compile(&rules, &Options::default()).expect_err("refused");
        assert!(errors.iter().all(|it| it.code == "queue"), "{errors:#?}");
        let approximate = Options {
            approximate: true,
            ..Options::default()
        };
        let compiled = compile(&rules, &approximate).expect("compiles");
        let rule = &compiled.filters[0].families[0].chains[0].rules[0];
        assert_eq!(rule.action, Action::Verdict(Verdict::Drop));
        let told = compiled.diagnostics.iter();
        let told: Vec<_> = told.filter(|it| it.code == "queue").collect();
        assert!(!told.is_empty() && told.iter().all(|it| it.severity == Severity::Warning));
    }
}

#[test]
fn options_of_tracking_that_are_not_kept_are_refused() {
    let text = |options: &str| format!("*raw\n-A PREROUTING -p tcp -j CT {options}\nCOMMIT\n");
    for options in [
        "--helper ftp",
        "--timeout short",
        "--zone 3",
        "--zone-orig mark",
    ] {
        let rules = rulesets(Family::V4, &text(options));
        let errors = compile(&rules, &Options::default()).expect_err("refused");
        assert!(
            errors.iter().all(|it| it.code == "ct-option"),
            "{errors:#?}"
        );
    }
    for options in ["", "--notrack", "--ctevents new", "--notrack --helper ftp"] {
        compile(&rulesets(Family::V4, &text(options)), &Options::default()).expect("compiles");
    }
}
