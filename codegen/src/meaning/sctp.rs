//! `sctp_mt` of net/netfilter/xt_sctp.c.

use ipt2bpf_parser::matches::sctp::Sctp;

use super::sctp_chunks::FindChunks;
use super::{Context, MatchMeaning, Refusal, first_fragment, found, port_step, transport_header};
use crate::field::Field;
use crate::semantic::Step;

const HEADER: u32 = 12;

impl MatchMeaning for Sctp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = vec![first_fragment(), transport_header(HEADER)];
        steps.extend(port_step(Field::SourcePort, &self.source_ports));
        steps.extend(port_step(Field::DestinationPort, &self.destination_ports));
        if let Some(chunks) = &self.chunks {
            steps.extend(found(FindChunks::new(&chunks.value.value), chunks.negated));
        }
        Ok(steps)
    }
}
