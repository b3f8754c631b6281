//! Extensions without a meaning yet.

use super::{Context, MatchMeaning, Refusal, TargetAction, TargetMeaning};
use crate::semantic::Step;

/// Stands for every extension that the tables do not name.
pub struct Untranslated;

impl MatchMeaning for Untranslated {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Err(refusal("match"))
    }
}

impl TargetMeaning for Untranslated {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Err(refusal("target"))
    }
}

fn refusal(kind: &str) -> Refusal {
    Refusal {
        code: "untranslated",
        reason: format!("is a {kind} that this version cannot translate"),
        help: "take the rule out, or keep it in iptables beside the BPF program".into(),
    }
}
