//! Rules: a base match, extension matches that go with it, and an action.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::action::action;
use crate::arbitrary::base::base;
use crate::arbitrary::matches::extension;
use crate::arbitrary::ruleset::counters;
use crate::arbitrary::values::spanned;
use crate::ruleset::{Family, NfHook, Rule, RuleSpan, TableKind};

/// A rule that may stand in a chain of this hook (none for a user chain) and lead to these chains.
pub fn rule(
    family: Family,
    kind: TableKind,
    hook: Option<NfHook>,
    targets: Vec<String>,
) -> impl Strategy<Value = Rule> {
    let base = base(family, hook);
    base.prop_flat_map(move |base| {
        let protocol = base
            .protocol
            .as_ref()
            .filter(|it| !it.negated)
            .map(|it| it.value.value);
        let matches = vec(extension(family, protocol).prop_map(spanned), 0..3);
        (
            Just(base),
            matches,
            action(family, kind, protocol, targets.clone()),
            counters(),
        )
    })
    .prop_map(|(base, matches, action, counters)| Rule {
        counters,
        base,
        matches,
        action,
        span: RuleSpan::default(),
    })
}
