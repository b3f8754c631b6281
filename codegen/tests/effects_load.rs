//! The kernel's verifier takes what tells of packets and changes them, at every hook.

mod common;
mod support;

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options, XdpPath};
use ipt2bpf_parser::ruleset::Family;
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
COMMIT
*filter
-A INPUT -j NFLOG --nflog-size 0
-A FORWARD -j NFLOG --nflog-size 1000
-A OUTPUT -j NFLOG --nflog-group 3
-A OUTPUT -j AUDIT --type drop
COMMIT
";

#[test]
fn targets_with_effects() {
    if !may_load() {
        return;
    }
    let mut both = rulesets(Family::V4, &TEXT.replace("GATEWAY", "10.0.0.1"));
    both.extend(rulesets(
        Family::V6,
        &TEXT.replace("GATEWAY", "fe80::1").replace("icmp", "icmpv6"),
    ));
    for xdp_path in [XdpPath::Auto, XdpPath::Forward] {
        for target_kernel in [
            None,
            Some(KernelVersion::BASELINE),
            Some(KernelVersion::GLOBAL_POINTERS),
        ] {
            let options = Options {
                xdp_path,
                target_kernel,
                ..Options::default()
            };
            let compiled = compile(&both, &options).expect("compiles");
            let dump = loads(&compiled.module, Hook::Xdp);
            assert!(dump.contains("-j TRACE"), "the dump shows rules: {dump}");
        }
    }
}
