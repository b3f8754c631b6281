//! `tos_mt` and `dscp_mt` of net/netfilter/xt_dscp.c.

use ipt2bpf_parser::matches::dscp::Dscp;
use ipt2bpf_parser::matches::tos::Tos;

use super::{Context, MatchMeaning, Refusal, require};
use crate::field::Field;
use crate::semantic::{Step, Test};

/// The two low bits are not of the codepoint (RFC 3168).
const CODEPOINT_SHIFT: u8 = 2;
const CODEPOINT_MASK: u8 = 0xfc;

impl MatchMeaning for Tos {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![require(&self.tos, |tos| Test::Masked {
            field: Field::TypeOfService,
            mask: tos.mask.into(),
            value: tos.value.into(),
        })])
    }
}

impl MatchMeaning for Dscp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(vec![require(&self.codepoint, |&codepoint| Test::Masked {
            field: Field::TypeOfService,
            mask: CODEPOINT_MASK.into(),
            value: u128::from(codepoint) << CODEPOINT_SHIFT,
        })])
    }
}
