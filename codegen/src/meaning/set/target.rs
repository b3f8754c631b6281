//! `set_target_v3` of net/netfilter/xt_set.c. Programs read sets as they were when they were loaded, so
//! what changes one is refused; what finds no key changes nothing.

use ipt2bpf_parser::targets::set::Set;

use super::super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::semantic::Action;

impl TargetMeaning for Set {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let add = self.add.as_ref().map(|add| &add.entry);
        let map = self.map.as_ref().map(|map| &map.entry);
        let lookups = [add, self.delete.as_ref(), map];
        for lookup in lookups.into_iter().flatten() {
            let set = super::known(&lookup.name, context)?;
            if set.takes(context.family, lookup.sides.len()) {
                return Err(Refusal {
                    code: "set-change",
                    reason: match map {
                        Some(_) => format!("takes marks and priorities from the set {}", set.name),
                        None => format!("changes the set {} while packets pass", set.name),
                    },
                    help: "keep the rule in iptables; `ipt2bpf attach --follow` brings what it changes into \
                           programs that ask for the set"
                        .into(),
                });
            }
        }
        Ok(TargetAction {
            effects: Vec::new(),
            action: Action::Continue,
            note: None,
        })
    }
}
