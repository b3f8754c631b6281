//! `udp_mt` of net/netfilter/xt_tcpudp.c.

use ipt2bpf_parser::matches::udp::Udp;

use super::{Context, MatchMeaning, Refusal, first_fragment, port_step, transport_header};
use crate::field::Field;
use crate::semantic::Step;

impl MatchMeaning for Udp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = vec![first_fragment(), transport_header(8)];
        steps.extend(port_step(Field::SourcePort, &self.source_ports));
        steps.extend(port_step(Field::DestinationPort, &self.destination_ports));
        Ok(steps)
    }
}
