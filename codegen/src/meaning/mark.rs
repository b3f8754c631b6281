//! `mark_mt` of net/netfilter/xt_mark.c.

use ipt2bpf_parser::matches::mark::Mark;

use super::{Context, MatchMeaning, Refusal, require};
use crate::field::Field;
use crate::semantic::{Step, Test};

impl MatchMeaning for Mark {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![require(&self.0, |mark| Test::Masked {
            field: Field::Mark,
            mask: mark.mask.into(),
            value: mark.value.into(),
        })])
    }
}
