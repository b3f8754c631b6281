//! Labels of connections, which ours do not have.

use ipt2bpf_parser::matches::connlabel::Connlabel;

use super::{Context, MatchMeaning, Refusal};
use crate::semantic::Step;

impl MatchMeaning for Connlabel {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Err(Refusal {
            code: "connection-label",
            reason: "asks for a label, and this connection tracking keeps none".into(),
            help: "use the connection's mark: CONNMARK and -m connmark".into(),
        })
    }
}
