//! `ttl_mt` and `hl_mt6` of net/netfilter/xt_hl.c: no header but the IP header is looked at.

use ipt2bpf_parser::matches::Comparison;
use ipt2bpf_parser::matches::hl::Hl;
use ipt2bpf_parser::matches::ttl::Ttl;

use super::{Context, MatchMeaning, Refusal};
use crate::field::Field;
use crate::semantic::{Step, Test};

impl MatchMeaning for Ttl {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![Step::require(compared(self.0))])
    }
}

impl MatchMeaning for Hl {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![Step::require(compared(self.0))])
    }
}

fn compared(comparison: Comparison<u8>) -> Test {
    let field = Field::TimeToLive;
    match comparison {
        Comparison::Equal(value) => Test::equal(field, value.into()),
        Comparison::Unequal(value) => Test::equal(field, value.into()).negated_if(true),
        Comparison::Less(value) => Test::at_least(field, value.into()).negated_if(true),
        Comparison::Greater(value) => Test::at_least(field, u32::from(value) + 1),
    }
}
