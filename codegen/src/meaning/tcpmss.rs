//! `tcpmss_mt` of net/netfilter/xt_tcpmss.c. It does not ask whether the packet is a later fragment: those
//! are read as if they began with a header, and mostly dropped.

use ipt2bpf_parser::matches::tcpmss::Tcpmss;

use super::tcp::whole_options;
use super::{Context, MatchMeaning, Refusal, require, transport_header};
use crate::field::Field;
use crate::semantic::{Step, Test};

impl MatchMeaning for Tcpmss {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = vec![transport_header(20)];
        steps.extend(whole_options());
        steps.push(require(&self.mss, |range| {
            Test::between(Field::MaximumSegment, *range.start(), *range.end())
        }));
        Ok(steps)
    }
}
