//! Token buckets: not translated yet.

use ipt2bpf_parser::matches::limit::Limit;

use super::{Context, MatchMeaning, Refusal};
use crate::semantic::Step;

impl MatchMeaning for Limit {
    fn steps(&self, _: Context) -> Result<Vec<Step>, Refusal> {
        Err(Refusal {
            code: "rate",
            reason: "needs a token bucket, which this version does not keep".into(),
            help: "keep this rule in iptables, or leave the limit out if the rule only logs".into(),
        })
    }
}
