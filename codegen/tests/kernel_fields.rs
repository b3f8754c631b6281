//! Facts about packets that only the kernel's own structures tell.

mod common;
mod support;

use common::loaders::{BpfFs, kernel_function, load_with_libbpf};
use common::may_load;
use common::trials::{INTERFACES, frame4, frame6, returned};
use ipt2bpf_codegen::asm::Extern;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{DeviceNames, Options, XdpPath};
use ipt2bpf_parser::ruleset::Family;
use support::texts::filter;

const LO: u32 = INTERFACES[0].1;
const LEFT: u32 = INTERFACES[1].1;

/// Whether a packet of an interface matches a rule of a chain at a hook.
fn matches(family: Family, hook: Hook, test: &str, ifindex: u32, frame: &[u8]) -> bool {
    let options = Options {
        hooks: vec![hook],
        device_names: DeviceNames::Relocated,
        xdp_path: XdpPath::Input,
        ..Options::default()
    };
    let chain = match hook {
        Hook::CgroupIngress | Hook::Xdp => "INPUT",
        Hook::CgroupEgress => "OUTPUT",
    };
    let rules = format!(":{chain} DROP [0:0]\n-A {chain} {test} -j ACCEPT");
    let compiled = compile(&filter(family, &rules), &options).expect("compiles");
    let fs = BpfFs::mount();
    let pins = load_with_libbpf(&compiled.module, &fs);
    match (hook, returned(&pins, hook, ifindex, frame)) {
        (Hook::Xdp, 1) | (_, 0) => false,
        (Hook::Xdp, 2) | (_, 1) => true,
        (_, other) => panic!("{other} is no verdict"),
    }
}

#[test]
fn they_are_those_of_the_packet() {
    use Hook::{CgroupEgress, CgroupIngress, Xdp};
    if !may_load() || kernel_function(Extern::CastToKernCtx).is_none() {
        return;
    }
    for (test, at_left, at_lo) in [
        ("-m mac --mac-source 02:00:00:00:00:02", true, false),
        ("-m mac ! --mac-source 02:00:00:00:00:02", false, false),
        ("-m mac --mac-source 02:00:00:00:00:03", false, false),
        // No Ethernet interface: neither matches.
        ("-m mac ! --mac-source 02:00:00:00:00:03", true, false),
        ("-m devgroup --src-group 5", true, false),
        ("-m devgroup ! --src-group 5", false, true),
        ("-m devgroup --src-group 0x34/0x3", false, true),
    ] {
        for hook in [CgroupIngress, Xdp] {
            for (ifindex, expected) in [(LEFT, at_left), (LO, at_lo)] {
                let found = matches(Family::V4, hook, test, ifindex, &frame4());
                assert_eq!(found, expected, "{test} at {hook}, interface {ifindex}");
            }
        }
    }
    for hook in [CgroupIngress, Xdp] {
        for (last, expected) in [(2, true), (3, false)] {
            let found = matches(Family::V6, hook, "-m eui64", LEFT, &frame6(last));
            assert_eq!(found, expected, "eui64 at {hook}, from {last}");
        }
    }
    for (hook, test, ifindex, expected) in [
        (CgroupEgress, "-m devgroup --dst-group 5", LEFT, true),
        (CgroupEgress, "-m devgroup --dst-group 5", LO, false),
        // A packet that was not routed has no route, and so no realm.
        (CgroupIngress, "-m realm --realm 0", LEFT, true),
        (CgroupEgress, "-m realm --realm 1", LEFT, false),
    ] {
        let found = matches(Family::V4, hook, test, ifindex, &frame4());
        assert_eq!(found, expected, "{test} at {hook}, interface {ifindex}");
    }
}
