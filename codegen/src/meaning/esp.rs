//! `esp_mt` of net/netfilter/xt_esp.c and `ah_mt` of net/ipv4/netfilter/ipt_ah.c.

use ipt2bpf_parser::matches::ah::Ah;
use ipt2bpf_parser::matches::esp::Esp;
use ipt2bpf_parser::range::Range;
use ipt2bpf_parser::ruleset::Negatable;

use super::{Context, MatchMeaning, Refusal, first_fragment, require, transport_header};
use crate::field::Field;
use crate::semantic::{Step, Test};

const ESP_HEADER: u32 = 8;
const AH_HEADER: u32 = 12;

impl MatchMeaning for Esp {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(steps(ESP_HEADER, Field::EspSpi, &self.spi))
    }
}

impl MatchMeaning for Ah {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(steps(AH_HEADER, Field::AhSpi, &self.spi))
    }
}

fn steps(header: u32, field: Field, spi: &Negatable<Range<u32>>) -> Vec<Step> {
    vec![
        first_fragment(),
        transport_header(header),
        require(spi, |range| Test::between(field, range.low, range.high)),
    ]
}
