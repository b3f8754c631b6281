//! Matches that count, measure and remember: the bytecode keeps the same state as the reference.

mod common;
mod support;

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::{Hook, LASTING_MAPS, MapKind};
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_codegen::vm::{Context, Machine};
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::check;
use support::texts::filter;
use support::universe::packets;

/// A verdict, none more often than not, so that packets come to later rules.
fn verdict() -> impl Strategy<Value = &'static str> {
    select(&["", "", " -j ACCEPT", " -j DROP", " -j RETURN"][..])
}

/// A rule line of some matches.
fn rule(matches: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (matches, verdict()).prop_map(|(matches, verdict)| format!("-A INPUT {matches}{verdict}\n"))
}

fn negation() -> impl Strategy<Value = &'static str> {
    select(&["", "", "! "][..])
}

/// A limit that some of the packets are over.
fn limit() -> impl Strategy<Value = String> {
    let rates = select(&["100/sec", "6/sec", "3/sec", "90/min", "7/min", "1/hour"][..]);
    (rates, 1..4u8)
        .prop_map(|(rate, burst)| format!("-m limit --limit {rate} --limit-burst {burst}"))
}

fn statistic() -> impl Strategy<Value = String> {
    let random = (negation(), select(&["0", "0.25", "0.5", "0.999", "1"][..]))
        .prop_map(|(not, share)| format!("-m statistic --mode random {not}--probability {share}"));
    let nth = (negation(), 1..6u32, 0..6u32).prop_map(|(not, every, packet)| {
        let packet = packet % every;
        format!("-m statistic --mode nth {not}--every {every} --packet {packet}")
    });
    prop_oneof![random, nth]
}

fn account() -> impl Strategy<Value = String> {
    let name = select(&["web", "a-name-of-thirty-one-characters"][..]);
    name.prop_map(|name| format!("-p tcp -m nfacct --nfacct-name {name}"))
}

fn quota() -> impl Strategy<Value = String> {
    let bytes = prop_oneof![0..2000u64, Just(u64::MAX), Just(1 << 32)];
    (negation(), bytes).prop_map(|(not, bytes)| format!("-m quota {not}--quota {bytes}"))
}

/// Hours of a day, which may go over midnight, and days that some of the packets fall on.
fn time() -> impl Strategy<Value = String> {
    let hours = proptest::option::of((0..24u8, 0..24u8, 0..60u8));
    let weekdays = proptest::option::of((negation(), vec(1..8u8, 1..4)));
    let monthdays = proptest::option::of((negation(), vec(1..32u8, 1..12)));
    let dates = select(
        &[
            "",
            " --datestart 2000-02-01",
            " --datestop 2000-03-01T12:34:56",
        ][..],
    );
    let zone = select(&["", " --kerneltz"][..]);
    (hours, weekdays, monthdays, dates, zone, any::<bool>()).prop_map(
        |(hours, weekdays, monthdays, dates, zone, contiguous)| {
            let list = |days: &[u8]| days.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
            let mut text = String::from("-m time");
            if let Some((start, stop, minute)) = hours {
                text += &format!(" --timestart {start}:{minute}:01 --timestop {stop}:{minute}:00");
                if contiguous && stop <= start {
                    text += " --contiguous";
                }
            }
            if let Some((not, days)) = weekdays {
                text += &format!(" {not}--weekdays {}", list(&days));
            }
            if let Some((not, days)) = monthdays {
                text += &format!(" {not}--monthdays {}", list(&days));
            }
            text + dates + zone
        },
    )
}

/// A rule of one of some lists.
fn recent() -> impl Strategy<Value = String> {
    let change = select(&["--set", "--set", "--remove"][..]).prop_map(str::to_owned);
    let test = (
        select(&["--rcheck", "--update"][..]),
        select(&["", " --seconds 1", " --seconds 3", " --seconds 1 --reap"][..]),
        select(
            &[
                "",
                " --hitcount 1",
                " --hitcount 2",
                " --hitcount 3",
                " --hitcount 6",
            ][..],
        ),
        select(&["", "", " --rttl"][..]),
    )
        .prop_map(|(check, seconds, hits, ttl)| format!("{check}{seconds}{hits}{ttl}"));
    let name = select(&["DEFAULT", "b", "a list whose name is long"][..]);
    let side = select(&["--rsource", "--rdest"][..]);
    let check = prop_oneof![change, test];
    (negation(), check, name, side).prop_map(|(not, check, name, side)| {
        format!("-m recent {not}{check} --name \"{name}\" {side}")
    })
}

/// A rule of one of some tables, those of a unit under one name.
fn hashlimit() -> impl Strategy<Value = String> {
    let rate = prop_oneof![
        (
            select(&["100/sec", "6/sec", "3/sec", "90/min", "1/hour"][..]),
            1..4u8
        )
            .prop_map(|(rate, burst)| ("packets", format!("{rate} --hashlimit-burst {burst}"))),
        select(
            &[
                "100b/s",
                "200b/s",
                "1kb/s",
                "1kb/s --hashlimit-burst 2kb",
                "50b/s --hashlimit-burst 400b",
            ][..]
        )
        .prop_map(|rate| ("bytes", rate.to_owned())),
        select(&["3/sec", "6/sec", "90/min"][..]).prop_map(|rate| (
            "window",
            format!("{rate} --hashlimit-burst 1 --hashlimit-rate-match")
        )),
        select(&["100b/s", "1kb/s --hashlimit-burst 2kb"][..]).prop_map(|rate| {
            let match_rate = "--hashlimit-rate-match --hashlimit-rate-interval 2";
            ("byte-window", format!("{rate} {match_rate}"))
        }),
    ];
    let mode = select(
        &[
            "",
            " --hashlimit-mode srcip",
            " --hashlimit-mode dstip,dstport",
            " --hashlimit-mode srcport",
            " --hashlimit-mode srcip,srcport,dstip,dstport",
            " --hashlimit-mode srcip,dstip --hashlimit-srcmask 25 --hashlimit-dstmask 0",
        ][..],
    );
    let size = select(
        &[
            "",
            " --hashlimit-htable-size 1 --hashlimit-htable-max 2",
            " --hashlimit-htable-size 1 --hashlimit-htable-max 1 --hashlimit-htable-gcinterval 1",
        ][..],
    );
    let expire = select(&["", " --hashlimit-htable-expire 400"][..]);
    let bound = select(&["upto", "above"][..]);
    (bound, rate, mode, size, expire).prop_map(|(bound, (name, rate), mode, size, expire)| {
        format!(
            "-m hashlimit --hashlimit-{bound} {rate}{mode} --hashlimit-name {name}{size}{expire}"
        )
    })
}

proptest! {
    #[test]
    fn limits(rules in vec(rule(limit()), 1..6), drawn in packets(60)) {
        agree(&rules, &drawn)?;
    }

    #[test]
    fn statistics(rules in vec(rule(statistic()), 1..6), drawn in packets(30)) {
        agree(&rules, &drawn)?;
    }

    #[test]
    fn accounts(rules in vec(rule(account()), 1..6), drawn in packets(30)) {
        agree(&rules, &drawn)?;
    }

    #[test]
    fn quotas(rules in vec(rule(quota()), 1..6), drawn in packets(30)) {
        agree(&rules, &drawn)?;
    }

    #[test]
    fn times(rules in vec(rule(time()), 1..6), drawn in packets(60)) {
        agree(&rules, &drawn)?;
    }

    #[test]
    fn recents(rules in vec(rule(recent()), 1..8), drawn in packets(60)) {
        agree(&rules, &drawn)?;
    }

    #[test]
    fn hashlimits(rules in vec(rule(hashlimit()), 1..6), drawn in packets(60)) {
        agree(&rules, &drawn)?;
    }
}

fn agree(
    rules: &[String],
    drawn: &[support::universe::Packet],
) -> Result<(), proptest::test_runner::TestCaseError> {
    for (family, kernel) in [(Family::V4, None), (Family::V6, Some(KernelVersion::TAI))] {
        let options = Options {
            target_kernel: kernel,
            ..Options::default()
        };
        check(&filter(family, &rules.concat()), drawn, &options)?;
    }
    Ok(())
}

/// What the compiler says of rules at the hooks, by code.
fn said(family: Family, lines: &str, options: &Options) -> Vec<(&'static str, Severity)> {
    let diagnostics = match compile(&filter(family, lines), options) {
        Ok(compiled) => compiled.diagnostics,
        Err(diagnostics) => diagnostics,
    };
    diagnostics
        .iter()
        .map(|it| (it.code, it.severity))
        .collect()
}

/// The choice of one hook.
fn at(hook: Hook) -> Options {
    Options {
        hooks: vec![hook],
        ..Options::default()
    }
}

#[test]
fn who_counts_packets_at_xdp_is_told_of_gro_once() {
    let lines = "-A INPUT -m limit --limit 5/sec\n-A INPUT -m quota --quota 5 -j ACCEPT\n";
    let warning = [("gro", Severity::Warning)];
    assert_eq!(said(Family::V4, lines, &at(Hook::Xdp)), warning);
    assert!(said(Family::V4, lines, &at(Hook::CgroupIngress)).is_empty());
    let list = "-A INPUT -m recent --set\n-A INPUT -m recent --rcheck -j DROP\n";
    assert!(said(Family::V4, list, &at(Hook::Xdp)).is_empty());
}

#[test]
fn what_cannot_be_exact_is_refused_by_name() {
    let options = at(Hook::CgroupIngress);
    for (lines, code) in [
        (
            "-A INPUT -m rateest --rateest eth0 --rateest-gt --rateest-bps 1bit",
            "kernel-object",
        ),
        ("-A INPUT -m recent --update --hitcount 5000", "recent-hits"),
        (
            "-A INPUT -m hashlimit --hashlimit-upto 3/sec --hashlimit-name a\n\
             -A INPUT -m hashlimit --hashlimit-upto 3kb/s --hashlimit-name a",
            "hashlimit-table",
        ),
    ] {
        assert!(
            said(Family::V4, lines, &options).contains(&(code, Severity::Error)),
            "{lines}"
        );
    }
    let old = Options {
        target_kernel: Some(KernelVersion::BASELINE),
        ..options
    };
    let lines = "-A INPUT -m hashlimit --hashlimit-upto 3/sec --hashlimit-name a";
    assert!(said(Family::V4, lines, &old).contains(&("kernel", Severity::Error)));
}

#[test]
fn a_list_that_both_families_name_is_refused() {
    let rules = "-A INPUT -m recent --set --name x\n";
    let mut rulesets = filter(Family::V4, rules);
    rulesets.extend(filter(Family::V6, rules));
    let diagnostics = compile(&rulesets, &at(Hook::CgroupIngress)).expect_err("refused");
    assert!(diagnostics.iter().all(|it| it.code == "recent-families"));
}

#[test]
fn more_lists_than_a_program_may_have_are_refused() {
    let options = at(Hook::CgroupIngress);
    let lists = |count: usize| -> String {
        (0..count)
            .map(|list| format!("-A INPUT -m recent --set --name list{list}\n"))
            .collect()
    };
    // The counters are a map as well.
    assert!(said(Family::V4, &lists(63), &options).is_empty());
    let error = [("too-large", Severity::Error)];
    assert_eq!(said(Family::V4, &lists(64), &options), error);
    let times: String = (0..300)
        .map(|minute| {
            format!(
                "-A INPUT -m time --timestop {}:{}\n",
                minute / 60,
                minute % 60
            )
        })
        .collect();
    assert_eq!(said(Family::V4, &times, &options), error);
}

#[test]
fn programs_share_what_rules_share() {
    let lines = "\
:user - [0:0]
-A INPUT -j user
-A OUTPUT -j user
-A user -m limit --limit 3/sec
-A user -m recent --set --name seen
-A user -m hashlimit --hashlimit-upto 3/sec --hashlimit-name ssh
-A OUTPUT -m hashlimit --hashlimit-above 5/min --hashlimit-name ssh
";
    let compiled = compile(&filter(Family::V4, lines), &Options::default()).expect("compiles");
    let entries = |name: &str| {
        let named: Vec<_> = compiled
            .module
            .maps
            .iter()
            .filter(|it| it.name == name)
            .collect();
        assert_eq!(named.len(), 1, "{name}");
        named[0].kind.clone()
    };
    assert!(matches!(
        entries("limits"),
        MapKind::State { entries: 1, .. }
    ));
    for name in ["RC_seen", "HLp4_ssh"] {
        entries(name);
        assert!(LASTING_MAPS.iter().any(|prefix| name.starts_with(prefix)));
    }
}

#[test]
fn without_the_time_packets_that_ask_for_it_are_dropped() {
    let lines = "-A INPUT -p tcp -m time --timestart 8:00 -j ACCEPT\n-A INPUT -j ACCEPT\n";
    let compiled = compile(&filter(Family::V4, lines), &at(Hook::CgroupIngress)).expect("compiles");
    let mut machine = Machine::new(&compiled.module).expect("encodes");
    let mut packet = [0; 20];
    packet[0] = 0x45;
    for (protocol, passes) in [(6, 0), (17, 1)] {
        packet[9] = protocol;
        let mut context = Context::new(&packet);
        context.protocol = 0x0800;
        assert_eq!(machine.run(Hook::CgroupIngress, &context), Ok(passes));
    }
    assert_eq!(machine.counters()[1..3], [(0, 0), (1, 20)]);
}

/// A rule of each kind of state that works, for a family.
const EVERYTHING: &str = "\
-A INPUT -m limit --limit 7/min --limit-burst 4 -j ACCEPT
-A INPUT -m statistic --mode random --probability 0.5 -j ACCEPT
-A INPUT -m statistic --mode nth ! --every 3 --packet 1 -j ACCEPT
-A INPUT -m quota ! --quota 1000000000000 -j ACCEPT
-A INPUT -m nfacct --nfacct-name one
-A INPUT -p tcp -m nfacct --nfacct-name a-name-of-thirty-one-characters -j ACCEPT
-A INPUT -m time --timestart 22:00 --timestop 6:00 --contiguous --weekdays Mon --monthdays 1,31 --kerneltz
-A INPUT -m time --timestart 6:00 --timestop 22:00 -j ACCEPT
-A INPUT -m recent --set --name a
-A INPUT -m recent --rcheck --seconds 5 --hitcount 3 --reap --rttl --name a -j ACCEPT
-A INPUT -m recent ! --update --seconds 5 --reap --name a -j ACCEPT
-A INPUT -m recent --remove --name a --rdest -j ACCEPT
-A INPUT -m recent --update --hitcount 4096 --name large -j ACCEPT
-A INPUT -m hashlimit --hashlimit-upto 3/sec --hashlimit-name a -j ACCEPT
-A INPUT -m hashlimit --hashlimit-above 3kb/s --hashlimit-burst 9kb --hashlimit-mode srcip,dstport --hashlimit-srcmask 24 --hashlimit-name b -j ACCEPT
-A INPUT -m hashlimit --hashlimit-upto 3/sec --hashlimit-rate-match --hashlimit-mode dstip,srcport --hashlimit-name c -j ACCEPT
-A INPUT -m hashlimit --hashlimit-upto 3kb/s --hashlimit-rate-match --hashlimit-name d -j ACCEPT
";

#[test]
fn every_kind_of_state_passes_the_verifier() {
    if !may_load() {
        return;
    }
    let mut rulesets = filter(Family::V4, EVERYTHING);
    rulesets.extend(filter(
        Family::V6,
        &EVERYTHING
            .replace("--name a", "--name a6")
            .replace("large", "large6"),
    ));
    for target_kernel in [None, Some(KernelVersion::TAI)] {
        let options = Options {
            target_kernel,
            ..Options::default()
        };
        let compiled = compile(&rulesets, &options).expect("compiles");
        loads(&compiled.module, Hook::Xdp);
    }
}

#[test]
fn state_passes_the_verifier_in_static_functions_and_global_ones() {
    if !may_load() {
        return;
    }
    let old: String = EVERYTHING
        .lines()
        .filter(|line| !line.contains("hashlimit"))
        .map(|line| format!("{line}\n"))
        .collect();
    for target_kernel in [KernelVersion::BASELINE, KernelVersion::GLOBAL_POINTERS] {
        let options = Options {
            target_kernel: Some(target_kernel),
            ..Options::default()
        };
        let compiled = compile(&filter(Family::V6, &old), &options).expect("compiles");
        loads(&compiled.module, Hook::CgroupIngress);
    }
    let one = "-A INPUT -m hashlimit --hashlimit-upto 3/sec --hashlimit-mode srcport --hashlimit-name a\n";
    let compiled = compile(&filter(Family::V4, one), &Options::default()).expect("compiles");
    loads(&compiled.module, Hook::CgroupEgress);
}
