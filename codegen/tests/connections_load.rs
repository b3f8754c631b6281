//! The kernel's verifier takes what asks for connections, at every hook and for old kernels.

mod common;
mod support;

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use support::texts::filter;

/// Rules that look connections up, in chains deep enough for the return stack.
const LOOK_UPS: &str = "\
:marks - [0:0]
:amounts - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j marks
-A INPUT -m conntrack --ctproto 6 --ctorigsrcport 1:1000 ! --ctrepldstport 7 --ctexpire 1:100 -j amounts
-A INPUT -m conntrack ! --ctstatus ASSURED --ctdir REPLY -j ACCEPT
-A FORWARD -m state --state NEW -j marks
-A OUTPUT -m conntrack --ctstate INVALID -j DROP
-A OUTPUT -j amounts
-A marks -j CONNMARK --set-xmark 0x1/0xff --left-shift-mark 3
-A marks -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0 --right-shift-mark 1
-A marks -j CONNMARK --restore-mark
-A marks -m connmark ! --mark 0x1/0x3 -j amounts
-A amounts -m connbytes --connbytes 10: --connbytes-mode avgpkt --connbytes-dir both -j DROP
-A amounts -m connbytes ! --connbytes 1:5 --connbytes-mode packets --connbytes-dir reply
-A amounts -m connlimit --connlimit-above 6298 --connlimit-mask 24 -j DROP
-A marks -p tcp -m connlimit ! --connlimit-above 2 --connlimit-daddr
";

/// What every kernel takes.
const STATES: &str = "\
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT
-A INPUT -m connmark --mark 0x1 -j ACCEPT
";

fn rulesets(rules: &str, more4: &str, more6: &str) -> Vec<Ruleset> {
    let mut rulesets = filter(Family::V4, &(rules.to_owned() + more4));
    rulesets.extend(filter(Family::V6, &(rules.to_owned() + more6)));
    rulesets
}

fn load(rulesets: &[Ruleset], target_kernel: Option<KernelVersion>) {
    let options = Options {
        target_kernel,
        ..Options::default()
    };
    let compiled = compile(rulesets, &options).expect("compiles");
    loads(&compiled.module, Hook::Xdp);
}

#[test]
fn rules_that_look_connections_up() {
    if !may_load() {
        return;
    }
    let rulesets = rulesets(
        LOOK_UPS,
        "-A amounts -m conntrack --ctorigsrc 10.0.0.0/9 ! --ctreplsrc 10.1.2.3\n",
        "-A amounts -m conntrack --ctorigsrc 2001:db8::/33 ! --ctrepldst 2001:db8::1\n",
    );
    load(&rulesets, None);
    load(&rulesets, Some(KernelVersion::LOOP));
}

#[test]
fn rules_that_ask_for_states() {
    if !may_load() {
        return;
    }
    let rulesets = rulesets(STATES, "", "");
    load(&rulesets, None);
    // Functions are walked anew at each call there: one family takes long enough.
    load(&rulesets[..1], Some(KernelVersion::BASELINE));
}

#[test]
fn nodes_of_a_cluster() {
    if !may_load() {
        return;
    }
    let rules = "-A INPUT -m cluster --cluster-total-nodes 5 --cluster-local-node 3 --cluster-hash-seed 7 -j ACCEPT\n\
                 -A INPUT -m pkttype --pkt-type multicast -j DROP\n\
                 -A OUTPUT -m cluster --cluster-total-nodes 2 ! --cluster-local-node 1 --cluster-hash-seed 1 -j DROP\n";
    let options = Options {
        hooks: vec![Hook::CgroupIngress, Hook::CgroupEgress],
        ..Options::default()
    };
    let compiled = compile(&rulesets(rules, "", ""), &options).expect("compiles");
    loads(&compiled.module, Hook::CgroupIngress);
    let said = compile(&rulesets(rules, "", ""), &Options::default()).expect_err("refused");
    assert!(said.iter().any(|it| it.code == "packet-type"), "{said:#?}");
}

#[test]
fn old_kernels_look_no_connections_up() {
    let options = Options {
        target_kernel: Some(KernelVersion::BASELINE),
        ..Options::default()
    };
    let said = compile(&rulesets(LOOK_UPS, "", ""), &options).expect_err("refused");
    assert!(said.iter().any(|it| it.code == "kernel"), "{said:#?}");
}

#[test]
fn half_of_each_connection_is_not_enough() {
    let rulesets = rulesets(STATES, "", "");
    for (hooks, companion, whole) in [
        (vec![Hook::CgroupIngress], false, false),
        (vec![Hook::CgroupIngress, Hook::CgroupEgress], false, true),
        (vec![Hook::Xdp], false, false),
        (vec![Hook::Xdp, Hook::CgroupEgress], false, true),
        (vec![Hook::Xdp], true, true),
        (Vec::new(), false, true),
    ] {
        let options = Options {
            hooks: hooks.clone(),
            companion,
            ..Options::default()
        };
        let compiled = compile(&rulesets, &options);
        let refused = compiled.as_ref().err().and_then(|said| {
            let mut errors = said.iter().filter(|it| it.severity == Severity::Error);
            errors.next().map(|error| error.code)
        });
        assert_eq!(refused, (!whole).then_some("half-tracked"), "{hooks:?}");
        let lenient = Options {
            approximate: true,
            ..options
        };
        let said = compile(&rulesets, &lenient).expect("compiles").diagnostics;
        let warned = said.iter().any(|it| it.code == "half-tracked");
        assert_eq!(warned, !whole, "{hooks:?}");
    }
}

#[test]
fn who_asks_for_translated_connections_is_told_that_there_are_none() {
    for (states, told) in [("DNAT", true), ("NEW,SNAT", true), ("NEW", false)] {
        let rules = format!("-A INPUT -m conntrack --ctstate {states} -j ACCEPT\n");
        let compiled = compile(&filter(Family::V4, &rules), &Options::default());
        let said = compiled.expect("compiles").diagnostics;
        let warned = said.iter().any(|it| it.message.contains("SNAT or DNAT"));
        assert_eq!(warned, told, "{states}: {said:?}");
    }
}
