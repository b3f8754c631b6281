//! Matches whose state is kept by others: by connection tracking, or in objects of the kernel that other
//! programs see too.

use ipt2bpf_parser::matches::cluster::Cluster;
use ipt2bpf_parser::matches::rateest::RateEst;

use super::{Context, MatchMeaning, Refusal};
use crate::semantic::Step;

/// A match that is refused, with what it needs and what to do instead.
macro_rules! refused {
    ($($kind:ty: $code:literal, $reason:literal, $help:literal;)*) => {
        $(impl MatchMeaning for $kind {
            fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
                Err(Refusal {
                    code: $code,
                    reason: $reason.into(),
                    help: $help.into(),
                })
            }
        })*
    };
}

refused! {
    Cluster: "connection-state",
        "hashes the address that began a connection to share out the packets that nodes of a cluster all get, \
         and changes for whom the packet is, which programs cannot",
        "keep this rule in iptables";
    RateEst: "kernel-object",
        "compares rates that `-j RATEEST` estimates in the kernel, which programs cannot reach",
        "keep this rule in iptables, or use `-m hashlimit`";
}
