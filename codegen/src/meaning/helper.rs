//! `helper_mt` of net/netfilter/xt_helper.c. Our connections have no helpers: the match never holds, and
//! its inversion always.

use ipt2bpf_parser::matches::helper::Helper;

use super::conntrack::source::own_only;
use super::{Context, MatchMeaning, Refusal, constant};
use crate::semantic::Step;

impl MatchMeaning for Helper {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        own_only(
            context,
            "asks for the helper of a connection, which programs cannot find",
        )?;
        Ok(vec![Step::require(constant(self.name.negated))])
    }
}
