//! The sets that rules ask for, held against those that are given. iptables refuses a set that is not
//! there or of the other family (libxt_set.h, `get_set_byname`); the kernel finds nothing in one whose
//! entries have more parts than the rule names sides (ip_set_core.c, `ip_set_test`, `ip_set_add`).

use std::collections::HashMap;

use ipt2bpf_parser::diagnostic::{self, Diagnostic};
use ipt2bpf_parser::ipset::{Set, code};
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::matches::set::Lookup;
use ipt2bpf_parser::ruleset::{Action, Family, Rule, Ruleset};
use ipt2bpf_parser::span::Span;
use ipt2bpf_parser::targets::Target;

use crate::messages::enumerate;

/// How many names a message lists.
const LISTED: usize = 8;

/// What is wrong with the sets that rules ask for.
pub fn check(rulesets: &[Ruleset], sets: &[Set]) -> Vec<Diagnostic> {
    let known = Known::new(sets);
    let mut diagnostics = Vec::new();
    for ruleset in rulesets {
        let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
        for rule in chains.flat_map(|chain| &chain.rules) {
            let said = uses(rule).filter_map(|it| known.judge(&it, ruleset.family));
            diagnostics.extend(said);
        }
    }
    diagnostics
}

/// A set where a rule asks for it.
struct Use<'a> {
    lookup: &'a Lookup,
    purpose: Purpose,
    span: Span,
}

/// What a rule wants of a set.
#[derive(Clone, Copy)]
enum Purpose {
    /// `--match-set`
    Test { negated: bool },
    /// `--add-set` and `--del-set`
    Change,
    /// `--map-set`
    Map,
}

impl Purpose {
    /// What comes of an element that has fewer parts than the entries.
    fn in_vain(self) -> (&'static str, &'static str) {
        use diagnostic::code::{NEVER_MATCHES, NO_EFFECT};
        match self {
            Purpose::Test { negated: false } => (NEVER_MATCHES, "this never matches"),
            Purpose::Test { negated: true } => (NO_EFFECT, "this always matches"),
            Purpose::Change => (NO_EFFECT, "this changes nothing"),
            Purpose::Map => (NO_EFFECT, "this finds nothing"),
        }
    }
}

fn uses(rule: &Rule) -> impl Iterator<Item = Use<'_>> {
    let tests = rule.matches.iter().filter_map(|extension| {
        let Match::Set(set) = &extension.value else {
            return None;
        };
        Some(Use {
            lookup: &set.lookup.value.value,
            purpose: Purpose::Test {
                negated: set.lookup.negated,
            },
            span: set.lookup.value.span,
        })
    });
    let target = match &rule.action {
        Action::Target(target) => Some(target),
        Action::Continue | Action::Verdict(_) | Action::Jump(_) | Action::Goto(_) => None,
    };
    let changes = target.into_iter().flat_map(|target| {
        let Target::Set(set) = &target.value else {
            return Vec::new();
        };
        let add = set.add.as_ref().map(|add| (&add.entry, Purpose::Change));
        let delete = set.delete.as_ref().map(|entry| (entry, Purpose::Change));
        let map = set.map.as_ref().map(|map| (&map.entry, Purpose::Map));
        let all = [add, delete, map].into_iter().flatten();
        all.map(|(lookup, purpose)| Use {
            lookup,
            purpose,
            span: target.span,
        })
        .collect()
    });
    tests.chain(changes)
}

/// The sets by name.
struct Known<'a> {
    sets: HashMap<&'a str, &'a Set>,
    /// What to say to who asks for another.
    others: String,
}

impl<'a> Known<'a> {
    fn new(sets: &'a [Set]) -> Self {
        let names: Vec<&str> = sets.iter().map(|set| set.name.value.as_str()).collect();
        let others = match names.len() {
            0 => "the files of --ipset hold no sets".to_owned(),
            1..=LISTED => format!("the files of --ipset hold {}", enumerate(&names)),
            number => format!("the {number} sets in the files of --ipset have other names"),
        };
        Known {
            sets: names.into_iter().zip(sets).collect(),
            others,
        }
    }

    fn judge(&self, wanted: &Use<'_>, family: Family) -> Option<Diagnostic> {
        let Use {
            lookup,
            purpose,
            span,
        } = wanted;
        let name = &lookup.name;
        let Some(set) = self.sets.get(name.as_str()) else {
            let message = format!("there is no set {name}");
            return Some(
                Diagnostic::error(code::UNKNOWN_SET, *span, message).with_help(&self.others),
            );
        };
        if let Some(other) = set.options.family.filter(|&other| other != family) {
            let message =
                format!("the set {name} holds {other} addresses, and the rule is {family}");
            return Some(
                Diagnostic::error(code::WRONG_FAMILY, *span, message)
                    .with_help("iptables refuses such a rule: ask for a set of the same family"),
            );
        }
        let (sides, parts) = (lookup.sides.len(), set.kind.dimension());
        if sides < parts {
            let (code, effect) = purpose.in_vain();
            let message = format!(
                "an entry of {name} has {parts} parts, and the rule names {sides} side{}, so {effect}",
                if sides == 1 { "" } else { "s" }
            );
            let help = format!(
                "{name} is {}: name a side, src or dst, for each part",
                set.kind
            );
            return Some(Diagnostic::warning(code, *span, message).with_help(help));
        }
        None
    }
}
