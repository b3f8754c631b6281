//! `sctp_mt` of net/netfilter/xt_sctp.c.

use ipt2bpf_parser::matches::sctp::Sctp;

use super::{Context, MatchMeaning, Refusal, first_fragment, port_step, transport_header};
use crate::field::Field;
use crate::semantic::Step;

const HEADER: u32 = 12;

impl MatchMeaning for Sctp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if self.chunks.is_some() {
            return Err(Refusal {
                code: "sctp-chunks",
                reason:
                    "looks through the chunks of a packet with `--chunk-types`, which this version \
                         does not"
                        .into(),
                help: "say in terms of ports what may pass".into(),
            });
        }
        let mut steps = vec![first_fragment(), transport_header(HEADER)];
        steps.extend(port_step(Field::SourcePort, &self.source_ports));
        steps.extend(port_step(Field::DestinationPort, &self.destination_ports));
        Ok(steps)
    }
}
