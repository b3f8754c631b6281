//! A ruleset with INPUT's rules where packets of another kind meet them.
//!
//! Most rules of most rulesets stand in INPUT. The kernel reassembles IPv4 fragments before it; packets
//! that are forwarded or sent stay as they are, so there the same rules can be judged on raw fragments,
//! and at other hooks.

use ipt2bpf_parser::ruleset::{Builtin, NfHook, Ruleset, TableKind};

/// Matches that the kernel refuses where packets leave, by the hooks or the direction that they are for
/// (their `xt_match.hooks` and `checkentry` in net/netfilter).
const OF_RECEIVED: [&str; 8] = [
    "devgroup", "eui64", "mac", "osf", "physdev", "policy", "rpfilter", "socket",
];

/// Moves INPUT to FORWARD. FORWARD's own rules and the nat table, which has no FORWARD, are left out.
pub fn into_forward(ruleset: &Ruleset) -> Ruleset {
    moved(ruleset, |_, hook| match hook {
        NfHook::Input => Some(NfHook::Forward),
        NfHook::Forward => None,
        hook => Some(hook),
    })
}

/// Moves PREROUTING and INPUT to OUTPUT, or to POSTROUTING where a table has both, and changes `-i` for
/// `-o`. All other built-in chains, the nat table and rules with matches that are refused there are left
/// out.
pub fn into_output(ruleset: &Ruleset) -> Ruleset {
    let mut mirrored = moved(ruleset, |table, hook| match (table, hook) {
        (TableKind::Mangle, NfHook::Input) => Some(NfHook::Postrouting),
        (_, NfHook::Prerouting | NfHook::Input) => Some(NfHook::Output),
        _ => None,
    });
    let tables = mirrored.tables.iter_mut();
    for chain in tables.flat_map(|table| &mut table.chains) {
        chain.rules.retain(|rule| {
            let mut matches = rule.matches.iter();
            !matches.any(|found| OF_RECEIVED.contains(&found.value.name()))
        });
        for rule in &mut chain.rules {
            let base = &mut rule.base;
            std::mem::swap(&mut base.in_interface, &mut base.out_interface);
        }
    }
    mirrored
}

/// Moves built-in chains to other hooks, or nowhere.
fn moved(ruleset: &Ruleset, place: impl Fn(TableKind, NfHook) -> Option<NfHook>) -> Ruleset {
    let mut moved = ruleset.clone();
    moved.tables.retain(|table| table.kind != TableKind::Nat);
    for table in &mut moved.tables {
        let kind = table.kind;
        table.chains.retain_mut(|chain| {
            let Some(Builtin { hook, .. }) = &mut chain.builtin else {
                return true;
            };
            let new = place(kind, *hook);
            if let Some(new) = new {
                *hook = new;
                chain.name = new.to_string();
            }
            new.is_some()
        });
    }
    moved
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::Counts;
    use ipt2bpf_parser::ruleset::Family;

    use super::*;
    use crate::subjects;

    /// The tables and rules of what becomes of a save text.
    fn mirrored(mirror: fn(&Ruleset) -> Ruleset, text: &str) -> Vec<String> {
        let ruleset = subjects::ruleset(Family::V4, text).expect("is a ruleset");
        let printed = mirror(&ruleset).print(Counts::Chains);
        String::from_utf8_lossy(&printed)
            .lines()
            .filter(|line| line.starts_with(['*', ':', '-']))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn input_takes_the_place_of_forward() {
        let text = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:INPUTS - [0:0]\n\
            -A INPUT -i eth1 -j INPUTS\n-A FORWARD -o eth0 -j DROP\n-A INPUTS -s 10.0.0.1\nCOMMIT\n\
            *nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n";
        assert_eq!(
            mirrored(into_forward, text),
            [
                "*filter",
                ":FORWARD DROP [0:0]",
                ":OUTPUT ACCEPT [0:0]",
                ":INPUTS - [0:0]",
                "-A FORWARD -i eth1 -j INPUTS",
                "-A INPUTS -s 10.0.0.1/32",
                "*raw",
                ":PREROUTING ACCEPT [0:0]",
                ":OUTPUT ACCEPT [0:0]",
            ]
        );
    }

    #[test]
    fn what_arrives_by_an_interface_is_what_leaves_by_it() {
        let text = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n\
            :ours - [0:0]\n-A INPUT -i eth1 -j ours\n-A INPUT -m mac --mac-source 02:00:00:00:00:01 \
            -j ACCEPT\n-A OUTPUT -j REJECT\n-A ours -i a -o b -j ACCEPT\nCOMMIT\n\
            *mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT DROP [0:0]\n:POSTROUTING DROP [0:0]\n\
            -A INPUT ! -i eth0\nCOMMIT\n*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n\
            *raw\n:PREROUTING DROP [0:0]\nCOMMIT\n";
        assert_eq!(
            mirrored(into_output, text),
            [
                "*filter",
                ":OUTPUT DROP [0:0]",
                ":ours - [0:0]",
                "-A OUTPUT -o eth1 -j ours",
                "-A ours -i b -o a -j ACCEPT",
                "*mangle",
                ":OUTPUT ACCEPT [0:0]",
                ":POSTROUTING DROP [0:0]",
                "-A POSTROUTING ! -o eth0",
                "*raw",
                ":OUTPUT DROP [0:0]"
            ]
        );
    }
}
