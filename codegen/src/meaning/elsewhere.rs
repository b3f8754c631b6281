//! Matches whose state is kept by others: by connection tracking, or in objects of the kernel that other
//! programs see too.

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
    RateEst: "kernel-object",
        "compares rates that `-j RATEEST` estimates in the kernel, which programs cannot reach",
        "keep this rule in iptables, or use `-m hashlimit`";
}
