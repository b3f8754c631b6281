//! `icmp_match` and `icmp6_match` of net/netfilter/xt_tcpudp.c. Both need 8 bytes of header, whatever
//! they compare.

use ipt2bpf_parser::matches::icmp::{Icmp, Icmp6, TypeCode};
use ipt2bpf_parser::ruleset::Negatable;

use super::{Context, MatchMeaning, Refusal, first_fragment, transport_header};
use crate::field::Field;
use crate::semantic::{Step, Test};

/// The type that means any type in IPv4.
const ANY_TYPE: u8 = 255;

impl MatchMeaning for Icmp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let test = match self.0.value.value.kind {
            ANY_TYPE => Test::All(Vec::new()),
            _ => type_code(&self.0),
        };
        Ok(steps(test, self.0.negated))
    }
}

impl MatchMeaning for Icmp6 {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(steps(type_code(&self.0), self.0.negated))
    }
}

fn steps(test: Test, negated: bool) -> Vec<Step> {
    vec![
        first_fragment(),
        transport_header(8),
        Step::require(test.negated_if(negated)),
    ]
}

fn type_code(option: &Negatable<TypeCode>) -> Test {
    let TypeCode {
        kind,
        code_low,
        code_high,
    } = option.value.value;
    Test::All(vec![
        Test::equal(Field::IcmpType, kind.into()),
        Test::between(Field::IcmpCode, code_low, code_high),
    ])
}
