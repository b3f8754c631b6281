//! `-m osf`: what net/netfilter/nfnetlink_osf.c makes of a SYN depends on fingerprints that were loaded into
//! the kernel.

use ipt2bpf_parser::matches::osf::Osf;

use super::{Context, MatchMeaning, Refusal};
use crate::semantic::Step;

impl MatchMeaning for Osf {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Err(Refusal {
            code: "osf-fingerprints",
            reason: "compares packets with fingerprints that nfnl_osf loads into the kernel, which are not in \
                     the ruleset"
                .into(),
            help: "say what is wanted of a SYN with tcp, ttl, length and tcpmss, or keep the rule in iptables"
                .into(),
        })
    }
}
