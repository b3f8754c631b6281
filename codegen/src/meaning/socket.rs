//! `socket_mt4_v1_v2_v3` and `socket_mt6_v1_v2_v3` of net/netfilter/xt_socket.c.

use ipt2bpf_parser::matches::socket::Socket;

use super::{Context, MatchMeaning, Refusal};
use crate::semantic::Step;

impl MatchMeaning for Socket {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Err(Refusal {
            code: "unseen",
            reason: "asks for a socket as transparent proxies need it, also one that has ended or is bound \
                     to other addresses, and programs are not shown all of them"
                .into(),
            help: "keep this rule in iptables, where the mark that it sets is needed".into(),
        })
    }
}
