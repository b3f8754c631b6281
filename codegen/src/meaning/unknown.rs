//! Extensions that only the parser knows by name.

use ipt2bpf_parser::unknown::Unknown;

use super::{Context, MatchMeaning, Refusal, TargetAction, TargetMeaning};
use crate::semantic::Step;

impl MatchMeaning for Unknown {
    fn steps(&self, _: Context) -> Result<Vec<Step>, Refusal> {
        Err(refusal("match"))
    }
}

impl TargetMeaning for Unknown {
    fn action(&self, _: Context) -> Result<TargetAction, Refusal> {
        Err(refusal("target"))
    }
}

fn refusal(kind: &str) -> Refusal {
    Refusal {
        code: "unknown-extension",
        reason: format!("is a {kind} that this version cannot translate"),
        help: "take the rule out, or keep it in iptables beside the BPF program".into(),
    }
}
