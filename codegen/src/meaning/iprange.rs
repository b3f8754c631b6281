//! `iprange_mt4` and `iprange_mt6` of net/netfilter/xt_iprange.c: addresses as numbers.

use ipt2bpf_parser::matches::iprange::{AddressRange, IpRange};

use super::{Context, MatchMeaning, Refusal, require};
use crate::field::Field;
use crate::semantic::{Step, Test};

impl MatchMeaning for IpRange {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let ends = [
            (&self.source, Field::Source4, Field::Source6),
            (&self.destination, Field::Destination4, Field::Destination6),
        ];
        let steps = ends.into_iter().filter_map(|(option, field4, field6)| {
            Some(require(option.as_ref()?, |range| match range {
                AddressRange::V4 { low, high } => {
                    Test::between(field4, low.to_bits(), high.to_bits())
                }
                AddressRange::V6 { low, high } => {
                    Test::between(field6, low.to_bits(), high.to_bits())
                }
            }))
        });
        Ok(steps.collect())
    }
}
