//! The kernel's verifier takes look-ups in sets of every type, in static and in global functions, and
//! in sets of many elements.

mod common;
mod support;

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Names, ipset};
use support::texts::filter;

fn sets(text: &str) -> Sets {
    let mut sources = Sources::default();
    let id = sources.add("sets", text);
    let parsed = ipset::parse(&sources, &[id], &Names::default());
    assert_eq!(parsed.diagnostics, []);
    Sets::new(&parsed.sets)
}

/// A set of every type, with times for some elements.
fn every_type(family: Family) -> String {
    let (name, a, b) = match family {
        Family::V4 => ("inet", "10.0.0.1", "10.9.0.2"),
        Family::V6 => ("inet6", "2001:db8::1", "2001:db8:9::2"),
    };
    let types = [
        ("ip", "hash:ip", format!("{a};{b}")),
        (
            "net",
            "hash:net",
            format!("{a}/8;{a}/9;{b}/17;{b}/24;{a}/25;{a}"),
        ),
        ("port", "hash:ip,port", format!("{a},tcp:80;{b},47:0")),
        (
            "netport",
            "hash:net,port",
            format!("{a}/8,tcp:80;{b}/16,udp:53"),
        ),
        ("ipportip", "hash:ip,port,ip", format!("{a},tcp:80,{b}")),
        (
            "ipportnet",
            "hash:ip,port,net",
            format!("{a},tcp:80,{b}/8;{a},udp:1,{b}/9"),
        ),
        (
            "netnet",
            "hash:net,net",
            format!("{a}/8,{b}/9;{a}/9,{b}/8;{a}/7,{b}/6"),
        ),
        (
            "netportnet",
            "hash:net,port,net",
            format!("{a}/8,tcp:80,{b}/9;{a}/9,tcp:1,{b}/8"),
        ),
        (
            "iface",
            "hash:net,iface",
            format!("{a}/8,eth0;{a}/8,eth1;{b}/16,lo"),
        ),
        ("mark", "hash:ip,mark", format!("{a},0x5")),
    ];
    let mut text = String::new();
    for (set, kind, elements) in types {
        for (suffix, option, time) in [("", "", ""), ("t", " timeout 0", " timeout 9")] {
            text += &format!("create {set}{suffix} {kind} family {name}{option}\n");
            for element in elements.split(';') {
                text += &format!("add {set}{suffix} {element}{time}\n");
            }
        }
    }
    text + "create mac hash:mac\nadd mac 02:00:00:00:00:02\n\
            create plain bitmap:port range 0-99\nadd plain 22\n\
            create all list:set timeout 0\nadd all net\nadd all iface timeout 9\nadd all portt\n"
}

fn rules(hook: Hook) -> String {
    let mut lines =
        String::from(":user - [0:0]\n-A INPUT -j user\n-A FORWARD -j user\n-A OUTPUT -j user\n");
    let types = [
        "ip",
        "net",
        "port",
        "netport",
        "ipportip",
        "ipportnet",
        "netnet",
        "netportnet",
        "iface",
        "mark",
        "all",
    ];
    for set in types {
        lines += &format!("-A user -m set --match-set {set} src,src,dst -j ACCEPT\n");
        if set != "all" {
            lines += &format!("-A user -m set ! --match-set {set}t dst,dst,src -j RETURN\n");
        }
    }
    if hook == Hook::Xdp {
        lines += "-A user -m set --match-set mac src -j DROP\n";
    }
    lines + "-A user -m set --match-set plain dst -j DROP\n"
}

#[test]
fn sets_of_every_type_load_at_every_hook() {
    if !may_load() {
        return;
    }
    for hook in Hook::ALL {
        for target_kernel in [Some(KernelVersion::BASELINE), Some(KernelVersion::LOOP)] {
            for family in [Family::V4, Family::V6] {
                let options = Options {
                    hooks: vec![hook],
                    sets: sets(&every_type(family)),
                    target_kernel,
                    ..Options::default()
                };
                let compiled = compile(&filter(family, &rules(hook)), &options);
                let compiled = compiled.unwrap_or_else(|said| panic!("{said:#?}"));
                loads(&compiled.module, hook);
            }
        }
    }
}

#[test]
fn sets_that_rules_change_load_at_every_hook() {
    if !may_load() {
        return;
    }
    for hook in Hook::ALL {
        for (target_kernel, timed) in [
            (KernelVersion::BASELINE, false),
            (KernelVersion::FOR_EACH, true),
            (KernelVersion::LOOP, true),
        ] {
            for family in [Family::V4, Family::V6] {
                let options = Options {
                    hooks: vec![hook],
                    sets: sets(&every_type(family)),
                    target_kernel: Some(target_kernel),
                    ..Options::default()
                };
                let mut lines = rules(hook);
                for set in ["ip", "port", "ipportip", "mark"] {
                    let set = if timed {
                        format!("{set}t")
                    } else {
                        set.to_owned()
                    };
                    lines += &format!(
                        "-A user -j SET --add-set {set} src,src,dst\n\
                         -A user -j SET --add-set {set} dst,dst,src --exist --timeout 5\n\
                         -A user -j SET --del-set {set} src,src,dst\n"
                    );
                }
                lines += "-A user -j SET --add-set plain dst --del-set plain src\n";
                let compiled = compile(&filter(family, &lines), &options);
                let compiled = compiled.unwrap_or_else(|said| panic!("{said:#?}"));
                loads(&compiled.module, hook);
            }
        }
    }
}

#[test]
fn a_hundred_thousand_addresses_take_about_ten_bytes_each() {
    let mut text = String::from("create many hash:ip maxelem 100000\n");
    for number in 1..=100_000u32 {
        let address = std::net::Ipv4Addr::from(number.wrapping_mul(0x9e37_79b1));
        text += &format!("add many {address}\n");
    }
    let options = Options {
        hooks: vec![Hook::Xdp],
        sets: sets(&text),
        ..Options::default()
    };
    let rulesets = filter(Family::V4, "-A INPUT -m set --match-set many src -j DROP\n");
    let compiled = compile(&rulesets, &options).expect("compiles");
    assert!(
        compiled.object.len() < 1_200_000,
        "{}",
        compiled.object.len()
    );
    if may_load() {
        loads(&compiled.module, Hook::Xdp);
    }
}

#[test]
fn a_set_that_is_not_given_is_refused_by_name() {
    let rulesets = filter(Family::V4, "-A INPUT -m set --match-set lan src -j DROP\n");
    let said = compile(&rulesets, &Options::default()).expect_err("no set");
    let error = &said[0];
    assert_eq!(error.code, "unknown-set");
    assert!(error.message.contains("the set lan"), "{}", error.message);
    assert!(
        error
            .help
            .as_ref()
            .is_some_and(|help| help.contains("--ipset"))
    );
}
