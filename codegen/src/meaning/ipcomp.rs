//! `comp_mt` of net/netfilter/xt_ipcomp.c: the index of IP payload compression (RFC 3173, section 2.2).

use ipt2bpf_parser::matches::ipcomp::Ipcomp;
use ipt2bpf_parser::range::Range;

use super::{Context, MatchMeaning, Refusal, first_fragment, transport_header};
use crate::field::Field;
use crate::semantic::{Step, Test};

impl MatchMeaning for Ipcomp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let Range { low, high } = self.spi.value.value;
        // The index stands where other protocols have their destination port.
        let index = Test::Range {
            field: Field::DestinationPort,
            low: low.into(),
            high: high.into(),
        };
        Ok(vec![
            first_fragment(),
            transport_header(4),
            Step::require(index.negated_if(self.spi.negated)),
        ])
    }
}
