//! The binary forms of targets: one file each, named in one table.

mod audit;
mod clusterip;
mod connsecmark;
mod ct;
mod ecn;
mod field;
mod hmark;
mod idletimer;
mod led;
mod log;
mod mark;
mod nat;
mod nflog;
mod nfqueue;
mod npt;
mod rateest;
mod reject;
mod secmark;
mod set;
mod synproxy;
mod tcpoptstrip;
mod tee;
mod tproxy;
mod ulog;

use super::codec::{Codec, codec};
use crate::targets::Target;

/// All of them. Where several have one name and revision, the first with a value counts.
pub(super) static CODECS: &[Codec<Target>] = &[
    codec!(Target::Audit, audit::Audit0),
    codec!(Target::Checksum, field::Checksum0),
    codec!(Target::Classify, field::Classify0),
    codec!(Target::Clusterip, clusterip::Clusterip0),
    codec!(Target::Connmark, mark::Connmark2),
    codec!(Target::Connsecmark, connsecmark::Connsecmark0),
    codec!(Target::Ct, ct::Ct2),
    codec!(Target::Dnat, nat::Dnat2),
    codec!(Target::Dnpt, npt::Dnpt0),
    codec!(Target::Dscp, field::Dscp0),
    codec!(Target::Ecn, ecn::Ecn0),
    codec!(Target::Hl, field::Hl0),
    codec!(Target::Hmark, hmark::Hmark0),
    codec!(Target::Idletimer, idletimer::Idletimer1),
    codec!(Target::Led, led::Led0),
    codec!(Target::Log, log::Log0),
    codec!(Target::Mark, mark::Mark2),
    codec!(Target::Masquerade, nat::Masquerade4),
    codec!(Target::Masquerade, nat::Masquerade6),
    codec!(Target::Netmap, nat::Netmap4),
    codec!(Target::Netmap, nat::Netmap6),
    codec!(Target::Nflog, nflog::Nflog0),
    codec!(Target::Nfqueue, nfqueue::Nfqueue3),
    codec!(Target::Notrack, ct::Notrack2),
    codec!(Target::Rateest, rateest::Rateest0),
    codec!(Target::Redirect, nat::Redirect4),
    codec!(Target::Redirect, nat::Redirect6),
    codec!(Target::Reject, reject::Reject4),
    codec!(Target::Reject, reject::Reject6),
    codec!(Target::Secmark, secmark::Secmark1),
    codec!(Target::Set, set::Set3),
    codec!(Target::Snat, nat::Snat4),
    codec!(Target::Snat, nat::Snat6),
    codec!(Target::Snpt, npt::Snpt0),
    codec!(Target::Synproxy, synproxy::Synproxy0),
    codec!(Target::Tcpmss, field::Tcpmss0),
    codec!(Target::Tcpoptstrip, tcpoptstrip::Tcpoptstrip0),
    codec!(Target::Tee, tee::Tee1),
    codec!(Target::Tos, field::Tos1),
    codec!(Target::Tproxy, tproxy::Tproxy1),
    codec!(Target::Trace, field::Trace0),
    codec!(Target::Ttl, field::Ttl0),
    codec!(Target::Ulog, ulog::Ulog0),
];
