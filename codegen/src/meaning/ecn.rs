//! `ecn_mt4` and `ecn_mt6` of net/netfilter/xt_ecn.c. The TCP header is read without asking whether the
//! packet is a later fragment; one that is cut short does not match, and is not dropped.

use ipt2bpf_parser::matches::ecn::Ecn;

use super::{Context, MatchMeaning, Refusal, require};
use crate::field::Field;
use crate::semantic::{Step, Test};

const IP_BITS: u8 = 3;
const TCP_HEADER: u32 = 20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

impl MatchMeaning for Ecn {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = Vec::new();
        if let Some(codepoint) = &self.ip_ect {
            steps.push(require(codepoint, |&codepoint| Test::Masked {
                field: Field::TypeOfService,
                mask: IP_BITS.into(),
                value: codepoint.into(),
            }));
        }
        if self.tcp_ece.is_some() || self.tcp_cwr.is_some() {
            let whole = Test::at_least(Field::TransportLength, TCP_HEADER);
            steps.push(Step::require(whole));
        }
        for (option, bit) in [(&self.tcp_ece, ECE), (&self.tcp_cwr, CWR)] {
            if let Some(option) = option {
                steps.push(require(option, |()| Test::Masked {
                    field: Field::TcpFlags,
                    mask: bit.into(),
                    value: bit.into(),
                }));
            }
        }
        Ok(steps)
    }
}
