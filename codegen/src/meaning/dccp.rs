//! `dccp_mt` of net/netfilter/xt_dccp.c.

use ipt2bpf_parser::matches::dccp::{Dccp, PacketTypes};

use super::{Context, MatchMeaning, Refusal, first_fragment, port_step, require, transport_header};
use crate::field::Field;
use crate::semantic::{Step, Test};

const HEADER: u32 = 12;
/// The type stands in these bits of its byte (RFC 4340, section 5.1).
const TYPE_SHIFT: u32 = 1;
const TYPE_MASK: u8 = 0x1e;

impl MatchMeaning for Dccp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if self.option.is_some() {
            return Err(Refusal {
                code: "dccp-option",
                reason: "looks through the options of a packet with `--dccp-option`, which this version \
                         does not"
                    .into(),
                help: "say in terms of ports and `--dccp-types` what may pass".into(),
            });
        }
        let mut steps = vec![first_fragment(), transport_header(HEADER)];
        steps.extend(port_step(Field::SourcePort, &self.source_ports));
        steps.extend(port_step(Field::DestinationPort, &self.destination_ports));
        if let Some(types) = &self.types {
            steps.push(require(types, |&types| one_of(types)));
        }
        Ok(steps)
    }
}

/// The type is one of the set.
fn one_of(PacketTypes(types): PacketTypes) -> Test {
    let listed = (0..u16::BITS).filter(|kind| types & 1 << kind != 0);
    let tests = listed.map(|kind| Test::Masked {
        field: Field::DccpType,
        mask: TYPE_MASK.into(),
        value: u128::from(kind << TYPE_SHIFT),
    });
    Test::Any(tests.collect())
}
