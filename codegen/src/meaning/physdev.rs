//! `physdev_mt` of net/netfilter/xt_physdev.c, for packets that came over no bridge: no option holds.

use ipt2bpf_parser::matches::physdev::Physdev;

use super::{Context, MatchMeaning, Refusal, constant};
use crate::module::Hook;
use crate::semantic::Step;

impl MatchMeaning for Physdev {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let switches = [&self.is_in, &self.is_out, &self.is_bridged];
        let switches = switches.into_iter().flatten().map(|it| it.negated);
        let ports = [&self.in_port, &self.out_port];
        let ports = ports.into_iter().flatten().map(|it| it.negated);
        let inverted = switches.chain(ports).all(|negated| negated);
        Ok(vec![Step::require(constant(inverted))])
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        match context.hook {
            // Which port of a bridge a packet of this host leaves by is decided behind the rules.
            Hook::CgroupEgress => None,
            Hook::CgroupIngress | Hook::Xdp => Some(
                "packets are taken to come over no bridge; where br_netfilter gives bridged packets to \
                 iptables, keep this rule there"
                    .into(),
            ),
        }
    }
}
