//! What rules share by name: tables of `-m hashlimit` and lists of `-m recent`, which belong to the first rule
//! that names them, and the sets that `-j SET` changes.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::matches::hashlimit::Hashlimit;
use ipt2bpf_parser::matches::recent::Recent;
use ipt2bpf_parser::ruleset::{Action, Family, Ruleset};
use ipt2bpf_parser::targets::Target;

use super::recent::stamps;

/// By family and name; sets by their name alone.
#[derive(Clone, Debug, Default)]
pub struct Shared<'r> {
    changed_sets: HashSet<&'r str>,
    tables: HashMap<(Family, &'r [u8]), &'r Hashlimit>,
    lists: HashMap<(Family, &'r [u8]), List>,
}

/// A list of `-m recent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    /// The bits of addresses that count, by the first rule.
    pub mask: IpAddr,
    /// How many stamps of each address are kept, for the rule that wants most.
    pub stamps: u32,
}

impl<'r> Shared<'r> {
    /// Looks through rulesets as the kernel meets them.
    pub fn of(rulesets: &'r [Ruleset]) -> Self {
        let mut shared = Shared::default();
        for ruleset in rulesets {
            let family = ruleset.family;
            for extension in matches(ruleset) {
                match extension {
                    Match::Hashlimit(it) => {
                        shared
                            .tables
                            .entry((family, it.name.as_slice()))
                            .or_insert(it);
                    }
                    Match::Recent(it) => {
                        let list = shared.lists.entry((family, it.name.as_slice()));
                        let list = list.or_insert(List {
                            mask: it.mask,
                            stamps: 1,
                        });
                        list.stamps = list.stamps.max(stamps(it));
                    }
                    _ => {}
                }
            }
            for target in targets(ruleset) {
                if let Target::Set(set) = target {
                    let changed = [set.add.as_ref().map(|add| &add.entry), set.delete.as_ref()];
                    let names = changed.into_iter().flatten().map(|it| it.name.as_str());
                    shared.changed_sets.extend(names);
                }
            }
        }
        shared
    }

    /// Whether a rule adds elements to the set of a name, or deletes some.
    pub fn changes(&self, set: &str) -> bool {
        self.changed_sets.contains(set)
    }

    /// The first rule of the table that a rule of the family names.
    pub fn table<'a>(&self, family: Family, rule: &'a Hashlimit) -> &'a Hashlimit
    where
        'r: 'a,
    {
        let known = self.tables.get(&(family, rule.name.as_slice()));
        known.copied().unwrap_or(rule)
    }

    /// The list that a rule of the family names.
    pub fn list(&self, family: Family, rule: &Recent) -> List {
        let known = self.lists.get(&(family, rule.name.as_slice()));
        known.copied().unwrap_or(List {
            mask: rule.mask,
            stamps: stamps(rule),
        })
    }

    /// Whether rules of both families name the list that a rule names.
    pub fn is_of_both_families(&self, rule: &Recent) -> bool {
        let named = |family| self.lists.contains_key(&(family, rule.name.as_slice()));
        named(Family::V4) && named(Family::V6)
    }
}

/// All matches of a ruleset as the kernel checks them when it is restored: table by table, built-in chains
/// in the order of their hooks, then the others by name, as libiptc sorts them.
fn matches(ruleset: &Ruleset) -> impl Iterator<Item = &Match> {
    ruleset.tables.iter().flat_map(|table| {
        let mut chains: Vec<_> = table.chains.iter().collect();
        chains.sort_by_key(|chain| match chain.builtin {
            Some(builtin) => (0, builtin.hook as u8, ""),
            None => (1, 0, chain.name.as_str()),
        });
        let rules = chains.into_iter().flat_map(|chain| &chain.rules);
        rules.flat_map(|rule| rule.matches.iter().map(|it| &it.value))
    })
}

/// All targets of a ruleset.
fn targets(ruleset: &Ruleset) -> impl Iterator<Item = &Target> {
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    let rules = chains.flat_map(|chain| &chain.rules);
    rules.filter_map(|rule| match &rule.action {
        Action::Target(target) => Some(&target.value),
        Action::Continue | Action::Verdict(_) | Action::Jump(_) | Action::Goto(_) => None,
    })
}
