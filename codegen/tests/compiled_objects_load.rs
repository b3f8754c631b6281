//! The kernel's verifier takes what rulesets are compiled to, through libbpf and aya alike.

mod common;
mod support;

use common::loaders::{loads, run};
use common::may_load;
use ipt2bpf_codegen::classify::Strategy;
use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use support::texts::{different_rules, filter, joining_chains, many_rules, rulesets};

fn compiled(rulesets: &[Ruleset], target_kernel: Option<KernelVersion>) -> Compiled {
    compiled_by(None, rulesets, target_kernel)
}

fn compiled_by(
    strategy: Option<Strategy>,
    rulesets: &[Ruleset],
    target_kernel: Option<KernelVersion>,
) -> Compiled {
    let options = Options {
        target_kernel,
        strategy,
        ..Options::default()
    };
    compile(rulesets, &options).expect("compiles")
}

/// Every test of every kind, so that each form of code meets the verifier.
const EVERYTHING: &str = "\
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:user - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT ! -i eth+ -p tcp -m tcp --sport 1:10 ! --dport 22 --tcp-flags SYN,ACK SYN -j user
-A INPUT -p tcp -m tcp ! --tcp-option 8 -m multiport ! --dports 80,443,8000:8080 -g user
-A INPUT -p udp -m udp --dport 53 -m comment --comment \"dns \\\"quoted\\\"\" -j RETURN
-A FORWARD -i eth0 -o eth1 -j LOG
-A FORWARD ! -o wlan+ -j REJECT
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -p tcp -m multiport --ports 1,2,3 -j DROP
-A user -m limit --limit 7/min --limit-burst 4 -j ACCEPT
-A user -m limit --limit 10/sec -j RETURN
-A INPUT -m tos --tos 0x10/0x3f -m dscp ! --dscp 1 -m length ! --length 20:60 -m mark --mark 1/3
-A INPUT -p tcp -m ecn --ecn-tcp-cwr --ecn-ip-ect 1 -m tcpmss ! --mss 1:1460 -j DROP
-A INPUT -p sctp -m sctp --sport 1:10 -m pkttype --pkt-type broadcast -m cpu ! --cpu 0
-A INPUT -p dccp -m dccp --dport 22 --dccp-types DATA,ACK
-A INPUT -p esp -m esp --espspi 256:511 -m physdev ! --physdev-is-in
-A user -j ACCEPT
";

#[test]
fn every_kind_of_test_in_both_families() {
    if !may_load() {
        return;
    }
    let v4 = EVERYTHING.to_owned()
        + "-A INPUT -s 10.1.2.3/255.0.255.0 -f -j DROP\n-A INPUT -p icmp -m icmp ! --icmp-type 8/0 -j DROP\n\
           -A INPUT -m ttl --ttl-gt 5 -m iprange --src-range 10.0.0.5-10.0.1.9\n\
           -A INPUT -p ah -m ah ! --ahspi 256:511\n";
    let v6 = EVERYTHING.to_owned()
        + "-A INPUT -s 2001:db8::/33 ! -d fe80::1 -j DROP\n-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 1/3 -j DROP\n\
           -A INPUT -m hl ! --hl-eq 5 -m iprange ! --dst-range 2001:db8::5-2001:db8:1::9\n\
           -A INPUT -p 135 -m mh --mh-type 1:3\n";
    let mut rulesets = filter(Family::V4, &v4);
    rulesets.extend(filter(Family::V6, &v6));
    for target in [
        None,
        Some(KernelVersion::BASELINE),
        Some(KernelVersion::GLOBAL_POINTERS),
    ] {
        let dump = loads(&compiled(&rulesets, target).module, Hook::Xdp);
        assert!(
            dump.contains("-A INPUT -i lo -j ACCEPT"),
            "the dump shows rules: {dump}"
        );
    }
}

/// Every kind of test that a classifier may be asked for, at every hook, in static and global functions.
#[test]
fn every_strategy_in_both_families() {
    if !may_load() {
        return;
    }
    let rules = |addresses: &[&str]| {
        let mut text = "*raw\n:OUTPUT ACCEPT [0:0]\n".to_owned();
        for address in addresses {
            text += &format!("-A OUTPUT -d {address} -j DROP\n");
        }
        text += "COMMIT\n*filter\n";
        text += &EVERYTHING
            .lines()
            .filter(|line| {
                !["LOG", "REJECT", "limit"]
                    .iter()
                    .any(|word| line.contains(word))
            })
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        for (number, address) in addresses.iter().cycle().take(12).enumerate() {
            text += &format!("-A INPUT -s {address} -p udp --dport {number} -j ACCEPT\n");
            text += &format!("-A INPUT -i eth{number} -d {address} -j DROP\n");
        }
        text + "COMMIT\n"
    };
    let v4 = [
        "10.0.0.0/8",
        "10.1.2.3",
        "10.1.2.0/24",
        "192.0.2.0/25",
        "203.0.113.77",
        "0.0.0.0/1",
    ];
    let v6 = [
        "2001:db8::/32",
        "2001:db8::1",
        "2001:db8::/64",
        "2001:db8::8000:0:0:0/65",
        "ff00::/8",
    ];
    let mut both = rulesets(Family::V4, &rules(&v4));
    both.extend(rulesets(Family::V6, &rules(&v6)));
    for strategy in Strategy::CLASSIFIERS {
        for target in [KernelVersion::BASELINE, KernelVersion::GLOBAL_POINTERS] {
            let compiled = compiled_by(Some(strategy), &both, Some(target));
            let segments = |hook: Hook| {
                let plans = compiled.plans.iter().filter(move |(it, _, _)| *it == hook);
                let segments = plans.flat_map(|(_, _, plan)| &plan.segments);
                segments
                    .filter(|segment| segment.decider.strategy() == strategy)
                    .count()
            };
            assert!(segments(Hook::CgroupEgress) > 0, "{strategy} is used");
            for hook in Hook::ALL.into_iter().filter(|&hook| segments(hook) > 0) {
                let dump = loads(&compiled.module, hook);
                assert!(
                    dump.contains(&format!("by {strategy}:")),
                    "the dump says so: {dump}"
                );
            }
        }
    }
}

#[test]
fn a_thousand_different_rules() {
    if !may_load() {
        return;
    }
    let rulesets = filter(Family::V4, &many_rules(1000));
    for target in [None, Some(KernelVersion::LOOP)] {
        for strategy in [None, Some(Strategy::Straight)] {
            let compiled = compiled_by(strategy, &rulesets, target);
            loads(&compiled.module, Hook::CgroupIngress);
        }
    }
}

#[test]
fn a_thousand_different_rules_for_the_oldest_kernel() {
    if !may_load() {
        return;
    }
    let rulesets = filter(Family::V4, &different_rules(1000));
    for strategy in [None, Some(Strategy::Straight)] {
        let compiled = compiled_by(strategy, &rulesets, Some(KernelVersion::BASELINE));
        loads(&compiled.module, Hook::CgroupIngress);
    }
}

#[test]
fn ten_thousand_rules_in_several_functions() {
    if !may_load() {
        return;
    }
    let rulesets = filter(Family::V4, &many_rules(10_000));
    let compiled = compiled_by(Some(Strategy::Straight), &rulesets, None);
    assert!(
        compiled
            .plans
            .iter()
            .any(|(_, _, plan)| plan.functions.len() > 1)
    );
    loads(&compiled.module, Hook::Xdp);
}

#[test]
fn chains_that_join_in_half_a_million_paths() {
    if !may_load() {
        return;
    }
    let compiled = compiled(&filter(Family::V4, &joining_chains()), None);
    assert!(
        compiled.plans.iter().any(|(_, _, plan)| plan.depth > 8),
        "deeper than BPF calls go"
    );
    loads(&compiled.module, Hook::Xdp);
}

#[test]
fn the_same_rules_give_the_same_bytes() {
    let rulesets = filter(Family::V4, &many_rules(300));
    let (first, second) = (compiled(&rulesets, None), compiled(&rulesets, None));
    assert!(first.object == second.object);
}

#[test]
fn readers_of_elf_know_the_object() {
    let rulesets = filter(Family::V6, "-A INPUT -p tcp -j ACCEPT");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), compiled(&rulesets, None).object).expect("written");
    let sections = run(std::process::Command::new("readelf")
        .arg("-SW")
        .arg(file.path()));
    for name in [
        "cgroup_skb/ingress",
        "cgroup_skb/egress",
        "xdp",
        ".maps",
        "license",
        ".BTF",
        ".BTF.ext",
    ] {
        assert!(sections.contains(name), "{name} in {sections}");
    }
}
