//! `length_mt` and `length_mt6` of net/netfilter/xt_length.c.

use ipt2bpf_parser::matches::length::Length;

use super::{Context, MatchMeaning, Refusal, require};
use crate::field::Field;
use crate::module::Hook;
use crate::semantic::{Step, Test};

impl MatchMeaning for Length {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![require(&self.0, |range| {
            Test::between(Field::Length, range.low, range.high)
        })])
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        (context.hook == Hook::Xdp).then(|| {
            "segments come one by one as they were sent, where the kernel may join those of a TCP \
             stream into longer packets before its rules see them"
                .into()
        })
    }
}
