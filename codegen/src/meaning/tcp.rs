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
            steps.extend(whole_options());
            let test = Test::TcpOption(option.value.value);
            steps.push(Step::require(test.negated_if(option.negated)));
        }
        Ok(steps)
    }
}

/// The header is as long as it must be, and the packet holds the options it announces; else the packet is
/// dropped.
pub(super) fn whole_options() -> [Step; 2] {
    const LEAST_WORDS: u32 = 5;
    [
        // The words stand in the high nibble.
        Step::demand(Test::at_least(Field::TcpDataOffset, LEAST_WORDS << 4)),
        Step::demand(Test::equal(Field::TcpOptionsWhole, 1)),
    ]
}
