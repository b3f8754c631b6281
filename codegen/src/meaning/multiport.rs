//! `multiport_mt` of net/netfilter/xt_multiport.c: needs just the four bytes of the ports.

use ipt2bpf_parser::matches::multiport::{Multiport, Side};

use super::{Context, MatchMeaning, Refusal, first_fragment, port_test, transport_header};
use crate::field::Field;
use crate::semantic::{Step, Test};

impl MatchMeaning for Multiport {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let fields: &[Field] = match self.side {
            Side::Source => &[Field::SourcePort],
            Side::Destination => &[Field::DestinationPort],
            Side::Either => &[Field::SourcePort, Field::DestinationPort],
        };
        let ports = &self.ports.value.value;
        let tests = fields
            .iter()
            .flat_map(|&field| ports.iter().map(move |range| port_test(field, range)));
        Ok(vec![
            first_fragment(),
            transport_header(4),
            Step::require(Test::Any(tests.collect()).negated_if(self.ports.negated)),
        ])
    }
}
