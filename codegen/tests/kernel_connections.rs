//! The kernel's connections: what is refused at which hook, what programs make of what the kernel keeps, and
//! that the verifier takes it.

mod common;
mod support;

use common::loaders::{BpfFs, kernel_function, load_with_libbpf};
use common::may_load;
use ipt2bpf_codegen::asm::{Extern, KernelField};
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{
    ConnectionTable, DeviceAccess, DeviceNames, KernelVersion, Options,
};
use ipt2bpf_codegen::vm::{Context, Machine, kernel_address};
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::Family;
use support::texts::filter;

fn options(hook: Hook, device_names: DeviceNames) -> Options {
    Options {
        hooks: vec![hook],
        device_names,
        conntrack: ConnectionTable::Kernel,
        ..Options::default()
    }
}

/// What stands in the way of a rule at a hook; nothing when it is translated.
fn refused(rule: &str, options: &Options) -> Option<&'static str> {
    let said = compile(&filter(Family::V4, &format!("{rule}\n")), options).err()?;
    let mut errors = said.iter().filter(|it| it.severity == Severity::Error);
    errors.next().map(|it| it.code)
}

#[test]
fn what_a_hook_does_not_know_is_refused() {
    use Hook::{CgroupEgress, CgroupIngress, Xdp};
    const KERNEL: Option<&str> = Some("kernel-conntrack");
    for (rule, hook, expected) in [
        (
            "-A INPUT -m conntrack --ctstate INVALID",
            CgroupIngress,
            None,
        ),
        (
            "-A INPUT -m conntrack --ctstatus EXPECTED",
            CgroupIngress,
            None,
        ),
        ("-A INPUT -m conntrack --ctexpire 5", CgroupIngress, None),
        (
            "-A INPUT -m conntrack --ctorigsrc 10.0.0.1",
            CgroupIngress,
            None,
        ),
        (
            "-A INPUT -m conntrack --ctstate SNAT",
            CgroupIngress,
            KERNEL,
        ),
        (
            "-A OUTPUT -m conntrack --ctorigsrcport 7",
            CgroupEgress,
            None,
        ),
        ("-A OUTPUT -m conntrack --ctexpire 5", CgroupEgress, KERNEL),
        (
            "-A OUTPUT -m conntrack --ctstatus CONFIRMED",
            CgroupEgress,
            KERNEL,
        ),
        ("-A OUTPUT -m connmark --mark 1", CgroupEgress, None),
        ("-A OUTPUT -j CONNMARK --set-mark 1", CgroupEgress, KERNEL),
        (
            "-A OUTPUT -m connlimit --connlimit-above 1",
            CgroupEgress,
            KERNEL,
        ),
        ("-A OUTPUT -m helper --helper ftp", CgroupEgress, KERNEL),
        (
            "-A OUTPUT -m connbytes --connbytes 1: --connbytes-dir both --connbytes-mode bytes",
            CgroupEgress,
            KERNEL,
        ),
        ("-A INPUT -p tcp -m conntrack --ctstate INVALID", Xdp, None),
        ("-A INPUT -p udp -m state --state NEW", Xdp, None),
        ("-A INPUT -p tcp -m connmark --mark 1", Xdp, None),
        ("-A INPUT -p tcp -m conntrack --ctproto 6", Xdp, KERNEL),
        ("-A INPUT -p tcp -m conntrack --ctexpire 5", Xdp, KERNEL),
        ("-A INPUT -m conntrack --ctstate NEW", Xdp, KERNEL),
        ("-A INPUT ! -p tcp -m conntrack --ctstate NEW", Xdp, KERNEL),
        ("-A INPUT -p icmp -m conntrack --ctstate NEW", Xdp, KERNEL),
    ] {
        let found = refused(rule, &options(hook, DeviceNames::Relocated));
        assert_eq!(found, expected, "{rule} at {hook}");
    }
    let rule = "-A OUTPUT -m conntrack --ctstate NEW";
    let blind = options(CgroupEgress, DeviceNames::Table);
    assert_eq!(refused(rule, &blind), Some("kernel-structure"));
    let without = DeviceAccess::new(
        |function| (!function.is_optional()).then_some(1),
        |field| (!field.is_optional()).then_some(0),
    );
    let without = DeviceNames::Kernel(without.expect("what every kernel has"));
    assert_eq!(refused(rule, &options(CgroupEgress, without)), KERNEL);
    let old = Options {
        target_kernel: Some(KernelVersion::LOOP),
        ..options(CgroupEgress, DeviceNames::Relocated)
    };
    assert_eq!(refused(rule, &old), KERNEL);
}

#[test]
fn who_asks_is_told_of_the_limits_at_each_hook() {
    for hook in Hook::ALL {
        let rules = "-A INPUT -p tcp -m state --state NEW\n-A OUTPUT -m state --state NEW\n";
        let options = options(hook, DeviceNames::Relocated);
        let compiled = compile(&filter(Family::V4, rules), &options).expect("compiles");
        let told = compiled.diagnostics.iter().map(|it| it.code);
        assert_eq!(
            told.filter(|it| *it == "kernel-conntrack").count(),
            1,
            "{hook}"
        );
    }
}

#[test]
fn packets_of_which_nobody_tells_are_dropped() {
    let rules = ":INPUT ACCEPT [0:0]\n-A INPUT -m state --state NEW\n";
    let options = Options {
        approximate: true,
        ..options(Hook::CgroupIngress, known())
    };
    let compiled = compile(&filter(Family::V4, rules), &options).expect("compiles");
    let mut machine = Machine::new(&compiled.module).expect("encodes");
    let packet = udp();
    let memory = vec![0; 4096];
    let mut context = Context::new(&packet);
    context.protocol = 0x0800;
    context.kernel = &memory;
    assert_eq!(machine.run(Hook::CgroupIngress, &context).expect("runs"), 0);
    context.protocol = 0x86dd;
    assert_eq!(machine.run(Hook::CgroupIngress, &context).expect("runs"), 1);
}

/// Where a kernel has its fields, each in a place of its own.
fn offset(field: KernelField) -> u16 {
    8 * field as u16
}

fn known() -> DeviceNames {
    let access = DeviceAccess::new(|_| Some(1), |field| Some(offset(field)));
    DeviceNames::Kernel(access.expect("all are there"))
}

fn udp() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 9, 0, 8, 0, 0]);
    packet
}

#[test]
fn sent_packets_carry_their_connection() {
    const CONNECTION: usize = 0x800;
    let tests = [
        "--ctstate INVALID",
        "--ctstate NEW",
        "--ctstate ESTABLISHED",
        "--ctstate RELATED",
        "--ctstate UNTRACKED",
        "--ctdir REPLY",
        "--ctstatus EXPECTED",
        "--ctstatus SEEN_REPLY",
        "--ctstatus ASSURED",
    ];
    let mut rules: String = tests
        .iter()
        .map(|test| format!("-A OUTPUT -m conntrack {test}\n"))
        .collect();
    rules += "-A OUTPUT -m connmark --mark 0x12345678\n";
    rules += "-A OUTPUT -m conntrack --ctorigsrc 10.1.0.0/16 --ctreplsrcport 259\n";
    let options = options(Hook::CgroupEgress, known());
    let compiled = compile(&filter(Family::V4, &rules), &options).expect("compiles");
    let mut machine = Machine::new(&compiled.module).expect("encodes");
    // Whether there is a connection, `enum ip_conntrack_info`, the status; the rules that match.
    for (is_there, info, status, expected) in [
        (false, 0, 0, &[0][..]),
        (false, 7, 0, &[4]),
        (true, 2, 8, &[1, 9, 10]),
        (true, 0, 2 | 4 | 8, &[2, 7, 8, 9, 10]),
        (true, 3, 2 | 8, &[2, 5, 7, 9, 10]),
        (true, 1, 1, &[3, 6, 9, 10]),
        (true, 4, 2, &[3, 5, 7, 9, 10]),
    ] {
        let mut memory = vec![0; 0x1000];
        let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
        let pointer = if is_there {
            kernel_address(CONNECTION as u32)
        } else {
            0
        };
        let word = (pointer | info).to_ne_bytes();
        put(usize::from(offset(KernelField::SkbConntrack)), &word);
        let at = |field: KernelField| CONNECTION + usize::from(offset(field));
        put(at(KernelField::ConnStatus), &u64::to_ne_bytes(status));
        put(at(KernelField::ConnMark), &0x1234_5678u32.to_ne_bytes());
        let tuples = at(KernelField::ConnTuples) + usize::from(offset(KernelField::HashTuple));
        put(tuples, &[10, 1, 2, 3]);
        put(tuples + 56 + 16, &[1, 3]);
        let packet = udp();
        let mut context = Context::new(&packet);
        context.protocol = 0x0800;
        context.kernel = &memory;
        let before = machine.counters();
        machine.run(Hook::CgroupEgress, &context).expect("runs");
        let hit = machine.counters().into_iter().zip(before).skip(FIRST);
        let hit: Vec<usize> = hit
            .enumerate()
            .filter(|(_, (now, before))| now.0 > before.0)
            .map(|(rule, _)| rule)
            .collect();
        assert_eq!(hit, expected, "{info} {status}");
    }
}

/// The counters of policies in front of those of OUTPUT's rules.
const FIRST: usize = 3;

#[test]
fn the_verifier_takes_it() {
    if !may_load() || kernel_function(Extern::CastToKernCtx).is_none() {
        return;
    }
    if kernel_function(Extern::XdpCtLookup).is_none() {
        return;
    }
    let rules = "\
-A INPUT -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p udp -m conntrack --ctstate NEW --ctdir ORIGINAL --ctstatus ASSURED -j DROP
-A INPUT -p udp -m connmark --mark 0x1/0x3 -j ACCEPT
-A FORWARD -p tcp -m state --state INVALID -j DROP
-A OUTPUT -m conntrack --ctorigsrcport 5:7 ! --ctproto 6 -j ACCEPT
-A OUTPUT -m conntrack --ctstatus EXPECTED -j DROP
";
    let more = "-A INPUT -p udp -m conntrack --ctexpire 3:9 ! --ctrepldstport 8 -j ACCEPT\n";
    for hook in Hook::ALL {
        let rules = match hook {
            Hook::CgroupIngress => rules.to_owned() + more,
            Hook::CgroupEgress | Hook::Xdp => rules.to_owned(),
        };
        let mut rulesets = filter(Family::V4, &rules);
        rulesets.extend(filter(Family::V6, &rules));
        let options = options(hook, DeviceNames::Relocated);
        let compiled = compile(&rulesets, &options).expect("compiles");
        assert_eq!(compiled.kernel, KernelVersion::KERNEL_CONTEXT);
        load_with_libbpf(&compiled.module, &BpfFs::mount());
    }
}
