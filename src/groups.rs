//! The control groups that rules ask for by their paths.

use std::collections::HashMap;

use anyhow::Result;
use ipt2bpf_codegen::options::ControlGroup;
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::matches::cgroup::Cgroup;
use ipt2bpf_parser::ruleset::Ruleset;
use ipt2bpf_runtime::group_of;

/// Those that exist here, by the path that rules write.
///
/// # Errors
/// When the hierarchy of control groups cannot be seen.
pub fn asked_for(rulesets: &[Ruleset]) -> Result<HashMap<Vec<u8>, ControlGroup>> {
    let tables = rulesets.iter().flat_map(|ruleset| &ruleset.tables);
    let chains = tables.flat_map(|table| &table.chains);
    let matches = chains
        .flat_map(|chain| &chain.rules)
        .flat_map(|rule| &rule.matches);
    let mut groups = HashMap::new();
    for extension in matches {
        if let Match::Cgroup(Cgroup::Path(path)) = &extension.value {
            let path = path.value.value.as_slice();
            if let Some(group) = group_of(path)? {
                groups.insert(path.to_vec(), group);
            }
        }
    }
    Ok(groups)
}
