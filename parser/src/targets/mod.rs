//! Target extensions: one file each, named in one table.

pub mod audit;
pub mod checksum;
pub mod classify;
pub mod clusterip;
pub mod connmark;
pub mod connsecmark;
pub mod ct;
pub mod dnat;
pub mod dnpt;
pub mod dscp;
pub mod ecn;
pub mod hl;
pub mod hmark;
pub mod hop_limit;
pub mod idletimer;
pub mod led;
pub mod log;
pub mod mark;
pub mod mark_change;
pub mod masquerade;
pub mod nat_range;
pub mod netmap;
pub mod nflog;
pub mod nfqueue;
pub mod notrack;
pub mod npt;
pub mod rateest;
pub mod redirect;
pub mod reject;
pub mod secmark;
pub mod set;
pub mod snat;
pub mod snpt;
pub mod synproxy;
pub mod tcpmss;
pub mod tcpoptstrip;
pub mod tee;
pub mod tos;
pub mod tproxy;
pub mod trace;
pub mod ttl;
pub mod ulog;

use serde::Serialize;

use crate::extension::{Spec, registry};
use crate::ruleset::Family;

registry! {
    /// `-j NAME` with its options.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "UPPERCASE")]
    pub enum Target {
        /// `-j AUDIT`
        Audit(audit::Audit),
        /// `-j CHECKSUM`
        Checksum(checksum::Checksum),
        /// `-j CLASSIFY`
        Classify(classify::Classify),
        /// `-j CLUSTERIP`
        Clusterip(clusterip::Clusterip),
        /// `-j CONNMARK`
        Connmark(connmark::Connmark),
        /// `-j CONNSECMARK`
        Connsecmark(connsecmark::Connsecmark),
        /// `-j CT`
        Ct(ct::Ct),
        /// `-j DNAT`
        Dnat(dnat::Dnat),
        /// `-j DNPT`
        Dnpt(dnpt::Dnpt),
        /// `-j DSCP`
        Dscp(dscp::Dscp),
        /// `-j ECN`
        Ecn(ecn::Ecn),
        /// `-j HL`
        Hl(hl::Hl),
        /// `-j HMARK`
        Hmark(hmark::Hmark),
        /// `-j IDLETIMER`
        Idletimer(idletimer::Idletimer),
        /// `-j LED`
        Led(led::Led),
        /// `-j LOG`
        Log(log::Log),
        /// `-j MARK`
        Mark(mark::Mark),
        /// `-j MASQUERADE`
        Masquerade(masquerade::Masquerade),
        /// `-j NETMAP`
        Netmap(netmap::Netmap),
        /// `-j NFLOG`
        Nflog(nflog::Nflog),
        /// `-j NFQUEUE`
        Nfqueue(nfqueue::Nfqueue),
        /// `-j NOTRACK`
        Notrack(notrack::Notrack),
        /// `-j RATEEST`
        Rateest(rateest::Rateest),
        /// `-j REDIRECT`
        Redirect(redirect::Redirect),
        /// `-j REJECT`
        Reject(reject::Reject),
        /// `-j SECMARK`
        Secmark(secmark::Secmark),
        /// `-j SET`
        Set(set::Set),
        /// `-j SNAT`
        Snat(snat::Snat),
        /// `-j SNPT`
        Snpt(snpt::Snpt),
        /// `-j SYNPROXY`
        Synproxy(synproxy::Synproxy),
        /// `-j TCPMSS`
        Tcpmss(tcpmss::Tcpmss),
        /// `-j TCPOPTSTRIP`
        Tcpoptstrip(tcpoptstrip::Tcpoptstrip),
        /// `-j TEE`
        Tee(tee::Tee),
        /// `-j TOS`
        Tos(tos::Tos),
        /// `-j TPROXY`
        Tproxy(tproxy::Tproxy),
        /// `-j TRACE`
        Trace(trace::Trace),
        /// `-j TTL`
        Ttl(ttl::Ttl),
        /// `-j ULOG`
        Ulog(ulog::Ulog),
    }
}

/// The targets of a family that have a type.
pub(crate) fn of_family(family: Family) -> impl Iterator<Item = &'static Spec<Target>> {
    REGISTRY
        .iter()
        .filter(move |spec| spec.family.is_none_or(|only| only == family))
}

impl Target {
    /// The name that `iptables -L` shows: the kernel knows NOTRACK as a kind of CT.
    pub(crate) fn listed_as(&self) -> &str {
        match self {
            Target::Notrack(_) => "CT",
            other => other.name(),
        }
    }
}
