//! `dccp_mt` of net/netfilter/xt_dccp.c.

use ipt2bpf_parser::matches::dccp::{Dccp, PacketTypes};

use super::dccp_option::FindOption;
use super::{
    Context, MatchMeaning, Refusal, first_fragment, found, port_step, require, transport_header,
};
use crate::field::Field;
use crate::semantic::{Step, Test};

const HEADER: u32 = 12;
/// The type stands in these bits of its byte (RFC 4340, section 5.1).
const TYPE_SHIFT: u32 = 1;
const TYPE_MASK: u8 = 0x1e;

impl MatchMeaning for Dccp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = vec![first_fragment(), transport_header(HEADER)];
        steps.extend(port_step(Field::SourcePort, &self.source_ports));
        steps.extend(port_step(Field::DestinationPort, &self.destination_ports));
        if let Some(types) = &self.types {
            steps.push(require(types, |&types| one_of(types)));
        }
        if let Some(option) = &self.option {
            steps.extend(found(FindOption(option.value.value), option.negated));
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
