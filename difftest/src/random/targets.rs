//! Targets in iptables' words, as regular expressions of what may be drawn.

use ipt2bpf_parser::ruleset::{Family, NfHook, TableKind};
use proptest::prelude::*;
use proptest::strategy::Union;

use super::matches::text;

/// What a rule of a chain does: mostly something that lets the packet meet more rules. `hook` is that of
/// a built-in chain.
pub(super) fn target(
    family: Family,
    table: TableKind,
    hook: Option<NfHook>,
) -> BoxedStrategy<String> {
    let mut targets: Vec<(u32, String)> = vec![
        (8, String::new()),
        (2, "-j (ACCEPT|DROP|RETURN)".to_owned()),
        (
            2,
            "-j LOG( --log-prefix \"[a-z]{1,9}\")? --log-level [5-7]( --log-tcp-sequence)?\
             ( --log-tcp-options)?( --log-ip-options)?"
                .to_owned(),
        ),
    ];
    if table == TableKind::Filter {
        let answers = match family {
            Family::V4 => "icmp-((net|host|proto|port)-unreachable|(net|host|admin)-prohibited)",
            Family::V6 => "icmp6-(no-route|adm-prohibited|(addr|port)-unreachable|policy-fail)",
        };
        targets.push((1, format!("-j REJECT --reject-with {answers}")));
    }
    if table == TableKind::Mangle {
        let (name, hops) = match family {
            Family::V4 => ("TTL", "ttl"),
            Family::V6 => ("HL", "hl"),
        };
        if family == Family::V4 {
            let fields = "(src|dst|src,dst|src,dst,proto|src,dst,sport,dport,proto|dst,spi)";
            let hash = format!(
                "-j HMARK --hmark-tuple {fields} --hmark-mod [1-8] --hmark-rnd 0x[0-9a-f]{{4}}"
            );
            targets.push((1, hash));
        }
        // A router drops what has no time left before FORWARD, so in PREROUTING none is taken away.
        let less = match hook {
            None | Some(NfHook::Prerouting) => "",
            Some(_) => "|dec [1-9]",
        };
        targets.extend([
            (
                3,
                "-j MARK --set-xmark 0x[0-7]/0x([0-7]|ffffffff)".to_owned(),
            ),
            (2, "-j DSCP --set-dscp 0x[0-3][0-9a-f]".to_owned()),
            (
                2,
                "-j TOS --set-tos 0x[0-9a-f]{2}/0x(ff|fc|f0|0f)".to_owned(),
            ),
            (
                2,
                format!("-j {name} --{hops}-(set (2|63|64|255)|inc ([1-9]|200){less})"),
            ),
        ]);
    }
    let targets = targets.iter().map(|(weight, form)| (*weight, text(form)));
    Union::new_weighted(targets.collect()).boxed()
}
