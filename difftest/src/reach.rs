//! The part of a ruleset that some packets can meet.

use std::collections::HashSet;

use ipt2bpf_parser::ruleset::{Action, Chain, NfHook, Ruleset, Table};

/// A ruleset without the built-in chains of other hooks than these, and without the user chains that no
/// rule of these leads to.
pub fn within(ruleset: &Ruleset, hooks: &[NfHook]) -> Ruleset {
    let mut part = ruleset.clone();
    for table in &mut part.tables {
        let reached = reached(table, hooks);
        table.chains.retain(|chain| reached.contains(&chain.name));
    }
    part
}

/// The names of the chains that packets at these hooks can meet.
fn reached(table: &Table, hooks: &[NfHook]) -> HashSet<String> {
    let at_hook = |chain: &&Chain| {
        let builtin = chain.builtin.as_ref();
        builtin.is_some_and(|builtin| hooks.contains(&builtin.hook))
    };
    let mut reached = HashSet::new();
    let mut pending: Vec<&Chain> = table.chains.iter().filter(at_hook).collect();
    while let Some(chain) = pending.pop() {
        if !reached.insert(chain.name.clone()) {
            continue;
        }
        for rule in &chain.rules {
            if let Action::Jump(name) | Action::Goto(name) = &rule.action {
                let called = |chain: &&Chain| chain.name == name.value;
                pending.extend(table.chains.iter().find(called));
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::ruleset::Family;

    use super::*;
    use crate::subjects;

    #[test]
    fn chains_behind_jumps_and_gotos_are_kept_and_no_others() {
        let text = "*filter\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:a -\n:b -\n:in -\n:unused -\n\
            -A INPUT -j in\n-A OUTPUT -j a\n-A a -g b\n-A b -j DROP\n-A unused -j b\nCOMMIT\n";
        let ruleset = subjects::ruleset(Family::V4, text).expect("is a ruleset");
        let part = within(&ruleset, &[NfHook::Output, NfHook::Postrouting]);
        let chains = part.tables[0].chains.iter();
        let names: Vec<&str> = chains.map(|chain| chain.name.as_str()).collect();
        assert_eq!(names, ["OUTPUT", "a", "b"]);
    }
}
