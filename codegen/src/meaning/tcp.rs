//! `tcp_mt` of net/netfilter/xt_tcpudp.c.

use ipt2bpf_parser::matches::tcp::Tcp;

use super::{Context, MatchMeaning, Refusal, first_fragment, port_step, transport_header};
use crate::field::Field;
use crate::semantic::{Step, Test};

impl MatchMeaning for Tcp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = vec![
            // A fragment at offset 8 would overwrite the flags of the first: dropped (RFC 1858).
            Step::demand(Test::Not(Box::new(Test::equal(Field::FragmentOffset, 1)))),
            first_fragment(),
            transport_header(20),
        ];
        steps.extend(port_step(Field::SourcePort, &self.source_ports));
        steps.extend(port_step(Field::DestinationPort, &self.destination_ports));
        if let Some(flags) = &self.flags {
            let bits = flags.value.value;
            let test = Test::Masked {
                field: Field::TcpFlags,
                mask: bits.mask.into(),
                value: bits.set.into(),
            };
            steps.push(Step::require(test.negated_if(flags.negated)));
        }
        if let Some(option) = &self.option {
            steps.push(Step::demand(Test::at_least(Field::TcpHeaderWords, 5)));
            steps.push(Step::demand(Test::equal(Field::TcpOptionsWhole, 1)));
            let test = Test::TcpOption(option.value.value);
            steps.push(Step::require(test.negated_if(option.negated)));
        }
        Ok(steps)
    }
}
