//! `rpfilter_mt` of net/ipv4/netfilter/ipt_rpfilter.c and net/ipv6/netfilter/ip6t_rpfilter.c.

use ipt2bpf_parser::matches::rpfilter::Rpfilter;

use super::{Context, MatchMeaning, Refusal};
use crate::module::Hook;
use crate::semantic::Step;

impl MatchMeaning for Rpfilter {
    /// `bpf_fib_lookup` is no way to know: it answers nothing where forwarding is off, names only one of
    /// several next hops, and does not tell sources of this host from others that it would not forward.
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let help = match context.hook {
            Hook::Xdp => {
                "let the kernel do it: net.ipv4.conf.*.rp_filter, or this rule in iptables, which sees \
                 the packet next"
            }
            Hook::CgroupIngress | Hook::CgroupEgress => {
                "keep this rule in iptables, whose PREROUTING comes before these programs"
            }
        };
        Err(Refusal {
            code: "unseen",
            reason: "asks for all ways back to the packet's source, which no program is told"
                .into(),
            help: help.into(),
        })
    }
}
