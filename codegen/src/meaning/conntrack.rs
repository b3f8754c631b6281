//! Connection state: not translated yet.

use ipt2bpf_parser::matches::conntrack::{Conntrack, State};

use super::{Context, MatchMeaning, Refusal};
use crate::semantic::Step;

impl MatchMeaning for Conntrack {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Err(refusal())
    }
}

impl MatchMeaning for State {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Err(refusal())
    }
}

fn refusal() -> Refusal {
    Refusal {
        code: "connection-state",
        reason: "needs to know the state of connections, which this version does not track".into(),
        help: "keep this rule in iptables, or say in terms of ports and `--syn` what may come in"
            .into(),
    }
}
