//! Sets that rules ask for and nobody gives.

use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::ipset::{Set, code};
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::Ruleset;

use crate::messages::enumerate;

/// How many names a message lists.
const LISTED: usize = 8;

/// An error for each `--match-set` that names none of the sets.
pub fn missing(rulesets: &[Ruleset], sets: &[Set]) -> Vec<Diagnostic> {
    let mut names: Vec<&str> = sets.iter().map(|set| set.name.value.as_str()).collect();
    let help = match names.len() {
        0 => "the files of --ipset hold no sets".to_owned(),
        1..=LISTED => format!("the files of --ipset hold {}", enumerate(&names)),
        number => format!("the {number} sets in the files of --ipset have other names"),
    };
    names.sort_unstable();
    let tables = rulesets.iter().flat_map(|ruleset| &ruleset.tables);
    let rules = tables
        .flat_map(|table| &table.chains)
        .flat_map(|chain| &chain.rules);
    rules
        .flat_map(|rule| &rule.matches)
        .filter_map(|extension| match &extension.value {
            Match::Set(set) => Some(&set.lookup.value),
            _ => None,
        })
        .filter(|lookup| names.binary_search(&lookup.value.name.as_str()).is_err())
        .map(|lookup| {
            let message = format!("there is no set {}", lookup.value.name);
            Diagnostic::error(code::UNKNOWN_SET, lookup.span, message).with_help(help.clone())
        })
        .collect()
}
