//! `mh_mt6` of net/ipv6/netfilter/ip6t_mh.c: a mobility header must be the last.

use ipt2bpf_parser::matches::mh::Mh;

use super::{Context, MatchMeaning, Refusal, first_fragment, require, transport_header};
use crate::field::Field;
use crate::semantic::{Step, Test};

const HEADER: u32 = 6;
const IPPROTO_NONE: u32 = 59;

impl MatchMeaning for Mh {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![
            first_fragment(),
            transport_header(HEADER),
            Step::demand(Test::equal(Field::MhPayload, IPPROTO_NONE)),
            require(&self.types, |range| {
                Test::between(Field::MhType, range.low, range.high)
            }),
        ])
    }
}
