//! NFQUEUE: user space would decide, and the kernel drops what it cannot ask about.

use ipt2bpf_parser::targets::nfqueue::Nfqueue;

use super::{Context, Refusal, TargetAction, TargetMeaning};
use crate::semantic::{Action, Verdict};

impl TargetMeaning for Nfqueue {
    fn action(&self, _: Context<'_>) -> Result<TargetAction, Refusal> {
        Err(to_user_space())
    }

    fn approximation(&self) -> Option<Action> {
        Some(Action::Verdict(Verdict::Drop))
    }
}

/// What is said of `-j NFQUEUE` and `-j QUEUE`.
pub fn to_user_space() -> Refusal {
    Refusal {
        code: "queue",
        reason: "leaves the verdict to a program in user space".into(),
        help: "write ACCEPT or DROP, keep the rule in iptables, or drop its packets with --approximate"
            .into(),
    }
}
