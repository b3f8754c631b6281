//! The order in which the kernel meets rules, for what belongs to the first that names it.

use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::Ruleset;

/// All matches of a ruleset as the kernel checks them when it is restored: table by table, built-in chains
/// in the order of their hooks, then the others by name, as libiptc sorts them.
pub fn matches(ruleset: &Ruleset) -> impl Iterator<Item = &Match> {
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
