//! What to say of programs that keep sets in maps, because rules change them.

use ipt2bpf_parser::diagnostic::Diagnostic;

use super::Filled;
use crate::compile::Compiled;
use crate::messages::enumerate;
use crate::routine::Routine;
use crate::sets::{Contents, Known};

/// A warning at the first rule that asks for such a set or changes it, where the set has elements at first.
pub(super) fn warning(compiled: &Compiled, filled: Filled) -> Option<Diagnostic> {
    if filled == Filled::Now {
        return None;
    }
    let families = compiled.filters.iter().flat_map(|filter| &filter.families);
    let chains = families.flat_map(|family| &family.chains);
    let rules = chains.flat_map(|chain| &chain.rules);
    let mut needed = Vec::new();
    for rule in rules {
        let sets = rule.routines().flat_map(changeable);
        needed.extend(sets.map(|set| (rule.span, set.name.as_str())));
    }
    let span = needed.iter().map(|(span, _)| *span).min()?;
    let mut names: Vec<&str> = needed.into_iter().map(|(_, name)| name).collect();
    names.sort_unstable();
    names.dedup();
    let message = format!(
        "sets that rules change are empty until the object's maps are filled: {}",
        enumerate(&names)
    );
    let help = "`ipt2bpf load` and `ipt2bpf attach` fill the maps";
    Some(Diagnostic::warning("sets", span, message).with_help(help))
}

/// The sets in maps that a routine asks or changes, and that have elements at first.
fn changeable(routine: &Routine) -> Vec<&Known> {
    let sets = match routine {
        Routine::TestElements(test) => vec![(&test.set, test.live)],
        Routine::TestList(list) => {
            let tests = list.members.iter().map(|member| &member.test);
            tests.map(|test| (&test.set, test.live)).collect()
        }
        Routine::ChangeElements(change) => vec![(&change.set, true)],
        _ => Vec::new(),
    };
    let has_elements =
        |set: &Known| matches!(&set.contents, Contents::Elements(it) if !it.groups.is_empty());
    sets.into_iter()
        .filter(|(set, live)| *live && has_elements(set))
        .map(|(set, _)| set)
        .collect()
}
