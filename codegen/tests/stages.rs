//! Every stage of a small ruleset as text.

mod support;

use ipt2bpf_codegen::compile::{compile, translate};
use ipt2bpf_codegen::listing::listing;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_parser::ruleset::Family;
use support::texts::{filter, rulesets};

const RULES: &str = "\
:INPUT DROP [0:0]
:web - [0:0]
-A INPUT ! -i eth+ -s 10.0.0.0/8 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 8000:8080 --tcp-flags SYN,ACK SYN -j web
-A INPUT -p icmp -m icmp ! --icmp-type 8/0 -g web
-A INPUT -p udp -m multiport ! --ports 53,100:200
-A web -f -j RETURN
-A web -j REJECT";

fn at(hook: Hook) -> Options {
    Options {
        hooks: vec![hook],
        ..Options::default()
    }
}

#[test]
fn the_meaning() {
    let (filters, _, _) = translate(&filter(Family::V4, RULES), &at(Hook::CgroupIngress));
    insta::assert_snapshot!(filters[0]);
}

#[test]
fn the_meaning_of_ipv6() {
    let rules = "-A INPUT -s fe80::/10 ! -p tcp -j ACCEPT\n-A INPUT -p all -j DROP";
    let (filters, _, _) = translate(&filter(Family::V6, rules), &at(Hook::CgroupIngress));
    insta::assert_snapshot!(filters[0]);
}

#[test]
fn the_meaning_of_header_tests() {
    let rules = "\
-A INPUT -m ttl --ttl-lt 5 -m tos ! --tos 0x10/0x3f -m length --length 100:200
-A INPUT -p tcp -m ecn --ecn-tcp-ece ! --ecn-ip-ect 2
-A INPUT -p tcp -m tcpmss ! --mss 536:1460 -j DROP
-A INPUT -p ah -m ah --ahspi 256:511
-A INPUT -p dccp -m dccp --sport 5000 ! --dccp-types RESET,CLOSE
-A INPUT -m iprange --src-range 10.0.0.5-10.0.1.9 -m mark --mark 0x1/0xf
-A INPUT -m mac ! --mac-source 02:00:00:00:00:02 -m pkttype --pkt-type multicast
-A INPUT -m physdev ! --physdev-is-bridged --physdev-in eth0 -m policy --dir in --pol none";
    let (filters, _, _) = translate(&filter(Family::V4, rules), &at(Hook::Xdp));
    insta::assert_snapshot!(filters[0]);
}

/// What is said of matches at each hook, without a look into the kernel's structures.
#[test]
fn what_is_said_of_matches() {
    let mut text = String::new();
    let (received, sent) = (["INPUT", "FORWARD"], ["FORWARD", "OUTPUT"]);
    for (family, chains, test) in [
        (Family::V4, received, "-m length --length 9"),
        (Family::V4, received, "-m cpu --cpu 1"),
        (
            Family::V4,
            received,
            "-m mac --mac-source 02:00:00:00:00:02",
        ),
        (Family::V6, received, "-m eui64"),
        (Family::V4, received, "-m devgroup --src-group 1"),
        (Family::V4, sent, "-m devgroup --dst-group 1"),
        (Family::V4, received, "-m realm --realm 1"),
        (Family::V4, sent, "-m realm --realm 1"),
        (Family::V4, received, "-m physdev --physdev-in eth0"),
        (Family::V4, received, "-m policy --dir in --pol none"),
        (Family::V4, sent, "-m policy --dir out --pol none"),
        (
            Family::V4,
            received,
            "-p sctp -m sctp --chunk-types any DATA",
        ),
        (Family::V4, received, "-p dccp -m dccp --dccp-option 1"),
    ] {
        text += &format!("{test} in {}\n", chains.join(" and "));
        let rules = chains.map(|chain| format!("-A {chain} {test}")).join("\n");
        let (_, _, diagnostics) = translate(&filter(family, &rules), &Options::default());
        for it in diagnostics {
            text += &format!("  {:?} {}: {}\n", it.severity, it.code, it.message);
            text.extend(it.help.map(|help| format!("    help: {help}\n")));
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_stages_at_xdp() {
    let text = "*raw\n-A PREROUTING -s 192.0.2.1 -j DROP\nCOMMIT\n*mangle\nCOMMIT\n*filter\n:FORWARD DROP\nCOMMIT\n";
    let (filters, _, _) = translate(&rulesets(Family::V4, text), &at(Hook::Xdp));
    insta::assert_snapshot!(filters[0]);
}

#[test]
fn the_plan() {
    let compiled = compile(&filter(Family::V4, RULES), &Options::default()).expect("compiles");
    let nodes: Vec<String> = compiled.plans[0]
        .2
        .nodes
        .iter()
        .map(|node| format!("{node:?}"))
        .collect();
    insta::assert_snapshot!(nodes.join("\n"));
}

#[test]
fn the_code() {
    let compiled = compile(&filter(Family::V4, RULES), &at(Hook::CgroupIngress)).expect("compiles");
    insta::assert_snapshot!(listing(&compiled.module));
}

#[test]
fn what_is_said_about_nat() {
    let text = "*nat\n-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
    let rulesets = rulesets(Family::V4, text);
    let said = |options: &Options| {
        let (_, _, diagnostics) = translate(&rulesets, options);
        let lines = diagnostics
            .iter()
            .map(|it| format!("{:?}: {}", it.severity, it.message));
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(said(&Options::default()));
    insta::assert_snapshot!(said(&Options {
        ignore_nat: true,
        ..at(Hook::Xdp)
    }));
}
