//! `policy_mt` of net/netfilter/xt_policy.c, where a hook sees packets of one kind only.

use ipt2bpf_parser::matches::policy::{Direction, Policy, PolicyKind};

use super::{Context, MatchMeaning, Refusal, constant};
use crate::module::Hook;
use crate::semantic::Step;

impl MatchMeaning for Policy {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        match (context.hook, self.direction) {
            // At XDP no packet is unwrapped yet; at egress each is wrapped already.
            (Hook::Xdp, Direction::In) | (Hook::CgroupEgress, Direction::Out) => {
                let plain = self.kind == PolicyKind::None;
                Ok(vec![Step::require(constant(plain))])
            }
            (Hook::CgroupIngress, _) => Err(refusal("a packet was unwrapped by IPsec")),
            (Hook::CgroupEgress, Direction::In) => {
                Err(refusal("a packet of this host was unwrapped by IPsec"))
            }
            (Hook::Xdp, Direction::Out) => Err(refusal("IPsec will wrap a packet")),
        }
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        let seen = match context.hook {
            Hook::CgroupIngress => return None,
            Hook::CgroupEgress => "what IPsec wraps is seen wrapped only",
            Hook::Xdp => "what IPsec unwraps is seen wrapped only",
        };
        Some(format!("{seen}: every packet is one of `--pol none`"))
    }
}

fn refusal(whether: &str) -> Refusal {
    Refusal {
        code: "unseen",
        reason: format!("asks whether {whether}, which is not known there"),
        help: "keep this rule in iptables, or ask for addresses or marks instead".into(),
    }
}
