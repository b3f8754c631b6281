//! The kernel's verifier takes what tells of packets and changes them, at every hook.

mod common;
mod support;

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options, XdpPath};
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use support::texts::rulesets;

const TEXT: &str = "\
*raw
:own - [0:0]
-A PREROUTING -p udp -j TRACE
-A PREROUTING -j own
-A PREROUTING -p tcp -j own
-A OUTPUT -p udp -j TRACE
-A OUTPUT -g own
-A own -j LOG --log-prefix x --log-ip-options
-A own -p icmp -j CT
-A own -p 89 -j NOTRACK
COMMIT
*mangle
-A PREROUTING -p udp -j RETURN
-A POSTROUTING -j LOG
-A OUTPUT -j CLASSIFY --set-class 1:10
-A INPUT -j TEE --gateway GATEWAY
-A INPUT -j MARK --set-mark 0x1/0xf
HASH
-A INPUT -j TOS --set-tos 0x10/0x3f
-A INPUT -m mark --mark 1 -j DSCP --set-dscp 3
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A OUTPUT -j HOPS-set 64
-A POSTROUTING -j HOPS-inc 3
-A POSTROUTING -j HOPS-dec 4
COMMIT
*filter
-A INPUT -j NFLOG --nflog-size 0
-A FORWARD -j NFLOG --nflog-size 1000
-A OUTPUT -j NFLOG --nflog-group 3
-A OUTPUT -j AUDIT --type drop
COMMIT
";

/// What only IPv4 has.
const HASH: &str =
    "-A INPUT -j HMARK --hmark-tuple src,dst,sport,dport --hmark-mod 8 --hmark-rnd 1\n";

/// The text in the words of each family.
fn both_families() -> Vec<Ruleset> {
    let words = [
        (Family::V4, "10.0.0.1", "TTL --ttl", "icmp"),
        (Family::V6, "fe80::1", "HL --hl", "icmpv6"),
    ];
    let texts = words.map(|(family, gateway, hops, icmp)| {
        let hash = match family {
            Family::V4 => HASH,
            Family::V6 => "",
        };
        let text = TEXT.replace("HASH\n", hash);
        let text = text.replace("GATEWAY", gateway).replace("HOPS", hops);
        rulesets(family, &text.replace("icmp", icmp))
    });
    texts.concat()
}

#[test]
fn targets_with_effects() {
    if !may_load() {
        return;
    }
    let both = both_families();
    for xdp_path in [XdpPath::Auto, XdpPath::Forward] {
        for target_kernel in [
            None,
            Some(KernelVersion::BASELINE),
            Some(KernelVersion::GLOBAL_POINTERS),
        ] {
            let options = Options {
                xdp_path,
                target_kernel,
                approximate: true,
                ..Options::default()
            };
            let compiled = compile(&both, &options).expect("compiles");
            let dump = loads(&compiled.module, Hook::Xdp);
            assert!(dump.contains("-j TRACE"), "the dump shows rules: {dump}");
        }
    }
}

#[test]
fn changed_packets_that_are_tracked() {
    if !may_load() {
        return;
    }
    let text = TEXT.replace(
        "-A INPUT -j NFLOG",
        "-A INPUT -m conntrack --ctstate NEW -j NFLOG",
    );
    let text = text
        .replace("GATEWAY", "10.0.0.1")
        .replace("HASH\n", HASH)
        .replace("HOPS", "TTL --ttl");
    let rules = rulesets(Family::V4, &text);
    let options = Options {
        approximate: true,
        ..Options::default()
    };
    let compiled = compile(&rules, &options).expect("compiles");
    loads(&compiled.module, Hook::Xdp);
}
