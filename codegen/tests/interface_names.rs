//! Programs that read the names of interfaces from the kernel, in objects that libbpf makes fit for it.

mod common;
mod support;

use std::fs;

use common::loaders::{BpfFs, bpftool, kernel_function, load_with_libbpf, run};
use common::may_load;
use common::trials::{INTERFACES, frame4, returned};
use ipt2bpf_codegen::asm::Extern;
use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::module::{DEVICES_MAP, Hook};
use ipt2bpf_codegen::options::{DeviceNames, KernelVersion, Options, XdpPath};
use ipt2bpf_parser::ruleset::Family;
use support::texts::filter;

fn compiled(rules: &str, xdp_path: XdpPath) -> Compiled {
    let options = Options {
        device_names: DeviceNames::Relocated,
        xdp_path,
        ..Options::default()
    };
    compile(&filter(Family::V4, rules), &options).expect("compiles")
}

fn has_map(compiled: &Compiled) -> bool {
    let mut maps = compiled.module.maps.iter();
    maps.any(|map| map.name == DEVICES_MAP)
}

/// The types that loaders read from an object.
fn types(compiled: &Compiled) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), &compiled.object).expect("written");
    run(bpftool().args(["btf", "dump", "file"]).arg(file.path()))
}

#[test]
fn an_object_needs_what_its_rules_ask_for() {
    let asking = compiled("-A INPUT -i lo -j DROP", XdpPath::Auto);
    assert_eq!(asking.kernel, KernelVersion::KERNEL_CONTEXT);
    assert!(!has_map(&asking));
    let types = types(&asking);
    for wanted in [
        "FUNC 'bpf_cast_to_kern_ctx' type_id=",
        "linkage=extern",
        "DATASEC '.ksyms' size=0 vlen=1",
        "STRUCT 'sk_buff' size=8 vlen=1",
    ] {
        assert!(types.contains(wanted), "{wanted} in {types}");
    }

    let silent = compiled("-A INPUT -p tcp -j DROP", XdpPath::Auto);
    assert_eq!(silent.kernel, KernelVersion::BASELINE);
    assert!(!self::types(&silent).contains(".ksyms"));

    assert!(!has_map(&compiled(
        "-A OUTPUT -o lo -j DROP",
        XdpPath::Auto
    )));
    let forwarding = "-A FORWARD -o lo -j DROP";
    assert!(has_map(&compiled(forwarding, XdpPath::Auto)));
    assert!(!has_map(&compiled(forwarding, XdpPath::Input)));
}

#[test]
fn names_are_those_of_the_packets_interface() {
    if !may_load() || kernel_function(Extern::CastToKernCtx).is_none() {
        return;
    }
    for (name, _) in INTERFACES {
        let rules = format!(
            ":INPUT DROP [0:0]\n:OUTPUT DROP [0:0]\n\
             -A INPUT -i {name} -j ACCEPT\n-A OUTPUT -o {name} -j ACCEPT"
        );
        let fs = BpfFs::mount();
        let pins = load_with_libbpf(&compiled(&rules, XdpPath::Input).module, &fs);
        for hook in Hook::ALL {
            let (pass, drop) = match hook {
                Hook::Xdp => (2, 1),
                Hook::CgroupIngress | Hook::CgroupEgress => (1, 0),
            };
            for (other, ifindex) in INTERFACES {
                let expected = if other == name { pass } else { drop };
                let found = returned(&pins, hook, ifindex, &frame4());
                assert_eq!(found, expected, "{other} at {hook}, where {name} passes");
            }
        }
    }
}

#[test]
fn at_xdp_the_outgoing_name_comes_from_the_map() {
    if !may_load() || kernel_function(Extern::CastToKernCtx).is_none() {
        return;
    }
    let rules = "-A FORWARD -i lo -o left -j DROP\n-A INPUT -i left -j DROP";
    let fs = BpfFs::mount();
    let pins = load_with_libbpf(&compiled(rules, XdpPath::Auto).module, &fs);
    let command = &mut bpftool();
    let command = command.args(["prog", "dump", "xlated", "pinned"]);
    let dump = run(command.arg(pins.join(Hook::Xdp.program_name())));
    for wanted in ["bpf_probe_read_kernel", "map_lookup_elem"] {
        assert!(dump.contains(wanted), "{wanted} in {dump}");
    }
}
