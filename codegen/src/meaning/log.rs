//! LOG: the packet goes on.

use ipt2bpf_parser::targets::log::Log;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::semantic::Action;

impl TargetMeaning for Log {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Ok(TargetAction {
            effects: Vec::new(),
            action: Action::Continue,
            note: Some("no line is logged: the rule only counts".into()),
        })
    }
}
