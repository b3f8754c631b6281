//! What each match and target means: one file per extension, named in one table.
//!
//! A match becomes steps; a target becomes an action. What cannot be said exactly is a [`Refusal`].

pub mod addrtype;
mod aside;
mod base;
pub mod bpf;
pub mod cgroup;
pub mod change_ecn;
pub mod change_mark;
pub mod change_tos;
mod checksum;
pub mod classify;
pub mod cluster;
mod comment;
pub mod connbytes;
mod connlabel;
pub mod connlimit;
pub mod connmark;
pub mod conntrack;
mod cpu;
pub mod ct;
mod dccp;
pub mod dccp_option;
mod devgroup;
mod ecn;
mod elsewhere;
mod esp;
pub mod hashlimit;
pub mod headers6;
mod helper;
pub mod hmark;
pub mod hops;
mod icmp;
mod ipcomp;
mod iprange;
mod jhash;
mod length;
pub mod limit;
mod log;
mod mac;
mod mark;
mod mh;
pub mod mss;
mod multiport;
mod names;
pub mod nfacct;
pub mod nfqueue;
mod osf;
pub mod owner;
mod physdev;
mod pkttype;
mod policy;
pub mod quota;
mod raw;
mod realm;
pub mod recent;
pub mod reject;
pub mod rewrite;
mod rpfilter;
mod sctp;
pub mod sctp_chunks;
mod sender;
pub mod set;
mod shared;
pub mod socket;
pub mod statistic;
pub mod string;
pub mod strip_options;
mod tcp;
mod tcpmss;
pub mod tell;
pub mod time;
mod tos;
pub mod trace;
mod ttl;
pub mod u32;
mod udp;
mod untranslated;

pub use base::base_steps;
pub use shared::Shared;

use ipt2bpf_parser::matches::{Match, PortRange};
use ipt2bpf_parser::ruleset::{Family, Negatable};
use ipt2bpf_parser::targets::Target;

use crate::field::Field;
use crate::module::Hook;
use crate::options::Options;
use crate::routine::{Place, Routine};
use crate::semantic::{Action, Step, Test};

/// What a meaning may depend on besides the extension's own options.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The family of the ruleset.
    pub family: Family,
    /// The hook the program is for.
    pub hook: Hook,
    /// Where in the ruleset the match or target stands.
    pub place: Place,
    /// The protocol that the rule is for, if it is for one (`-p`); 0 is all.
    pub protocol: Option<u8>,
    /// What the user chose.
    pub options: &'a Options,
    /// What rules share.
    pub shared: &'a Shared<'a>,
}

/// Why an extension cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A stable name for programs.
    pub code: &'static str,
    /// What cannot be done, as the end of a sentence that begins with the extension's name.
    pub reason: String,
    /// What to do instead.
    pub help: String,
}

/// A match with a meaning.
pub trait MatchMeaning {
    /// The steps that stand for it, in order.
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal>;

    /// What the administrator should know of how far that is what netfilter sees.
    fn note(&self, _: Context<'_>) -> Option<String> {
        None
    }
}

/// A target with a meaning.
pub trait TargetMeaning {
    /// What it does to the packet.
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal>;

    /// What it may stand for where it is refused, erring towards dropping.
    fn approximation(&self) -> Option<Action> {
        None
    }
}

/// What a target does, and what of its work is left undone that no verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetAction {
    /// What it changes or tells.
    pub effects: Vec<Routine>,
    /// What then happens to the packet.
    pub action: Action,
    /// What the administrator should know.
    pub note: Option<String>,
}

/// The table of matches; what is not in it is refused.
pub fn match_meaning(extension: &Match) -> &dyn MatchMeaning {
    match extension {
        Match::Addrtype(addrtype) => addrtype,
        Match::Ah(ah) => ah,
        Match::Ah6(ah) => ah,
        Match::Bpf(bpf) => bpf,
        Match::Cluster(cluster) => cluster,
        Match::Cgroup(cgroup) => cgroup,
        Match::Owner(owner) => owner,
        Match::Rpfilter(rpfilter) => rpfilter,
        Match::Socket(socket) => socket,
        Match::Comment(comment) => comment,
        Match::Connbytes(connbytes) => connbytes,
        Match::Connlabel(connlabel) => connlabel,
        Match::Connmark(connmark) => connmark,
        Match::Connlimit(connlimit) => connlimit,
        Match::Conntrack(conntrack) => conntrack,
        Match::Cpu(cpu) => cpu,
        Match::Dccp(dccp) => dccp,
        Match::Devgroup(devgroup) => devgroup,
        Match::Dscp(dscp) => dscp,
        Match::Dst(dst) => dst,
        Match::Ecn(ecn) => ecn,
        Match::Esp(esp) => esp,
        Match::Eui64(eui64) => eui64,
        Match::Helper(helper) => helper,
        Match::Frag(frag) => frag,
        Match::Hbh(hbh) => hbh,
        Match::Hashlimit(hashlimit) => hashlimit,
        Match::Hl(hl) => hl,
        Match::Icmp(icmp) => icmp,
        Match::Icmp6(icmp6) => icmp6,
        Match::IpRange(range) => range,
        Match::Ipcomp(ipcomp) => ipcomp,
        Match::Ipv6Header(headers) => headers,
        Match::Length(length) => length,
        Match::Limit(limit) => limit,
        Match::Mac(mac) => mac,
        Match::Mark(mark) => mark,
        Match::Mh(mh) => mh,
        Match::Multiport(multiport) => multiport,
        Match::Osf(osf) => osf,
        Match::Nfacct(nfacct) => nfacct,
        Match::Physdev(physdev) => physdev,
        Match::Pkttype(packet_type) => packet_type,
        Match::Policy(policy) => policy,
        Match::Quota(quota) => quota,
        Match::RateEst(rateest) => rateest,
        Match::Realm(realm) => realm,
        Match::Rt(rt) => rt,
        Match::Recent(recent) => recent,
        Match::Sctp(sctp) => sctp,
        Match::Set(set) => set,
        Match::Srh(srh) => srh,
        Match::State(state) => state,
        Match::String(string) => string,
        Match::Statistic(statistic) => statistic,
        Match::Tcp(tcp) => tcp,
        Match::Tcpmss(tcpmss) => tcpmss,
        Match::Time(time) => time,
        Match::Tos(tos) => tos,
        Match::Ttl(ttl) => ttl,
        Match::U32(words) => words,
        Match::Udp(udp) => udp,
        _ => &untranslated::Untranslated,
    }
}

/// The table of targets; what is not in it is refused.
pub fn target_meaning(extension: &Target) -> &dyn TargetMeaning {
    match extension {
        Target::Connmark(connmark) => connmark,
        Target::Audit(audit) => audit,
        Target::Checksum(checksum) => checksum,
        Target::Classify(classify) => classify,
        Target::Connsecmark(connsecmark) => connsecmark,
        Target::Ct(ct) => ct,
        Target::Dscp(dscp) => dscp,
        Target::Ecn(ecn) => ecn,
        Target::Hl(hl) => hl,
        Target::Hmark(hmark) => hmark,
        Target::Idletimer(idletimer) => idletimer,
        Target::Led(led) => led,
        Target::Log(log) => log,
        Target::Mark(mark) => mark,
        Target::Nflog(nflog) => nflog,
        Target::Nfqueue(nfqueue) => nfqueue,
        Target::Notrack(notrack) => notrack,
        Target::Rateest(rateest) => rateest,
        Target::Reject(reject) => reject,
        Target::Secmark(secmark) => secmark,
        Target::Set(set) => set,
        Target::Tcpmss(tcpmss) => tcpmss,
        Target::Tcpoptstrip(tcpoptstrip) => tcpoptstrip,
        Target::Tee(tee) => tee,
        Target::Tos(tos) => tos,
        Target::Trace(trace) => trace,
        Target::Ttl(ttl) => ttl,
        _ => &untranslated::Untranslated,
    }
}

/// An option holds, inverted or not.
fn require<T>(option: &Negatable<T>, test: impl Fn(&T) -> Test) -> Step {
    Step::require(test(&option.value.value).negated_if(option.negated))
}

/// A test that no packet changes.
fn constant(holds: bool) -> Test {
    match holds {
        true => Test::All(Vec::new()),
        false => Test::Any(Vec::new()),
    }
}

/// Refuses what only the kernel's structures tell, where a program may not look there.
fn kernel_only(context: Context<'_>, what: &str) -> Result<(), Refusal> {
    match context.options.device_names.reads_kernel() {
        true => Ok(()),
        false => Err(Refusal {
            code: "kernel-structure",
            reason: format!("asks for {what}, which only the kernel's own structures tell"),
            help: "compile for kernels from 6.2 on with --target-kernel, or load directly".into(),
        }),
    }
}

/// The answers of routines that look for something in a packet which may be broken.
const NO: u32 = 0;
/// See [`NO`].
const YES: u32 = 1;
/// The packet is broken, and dropped.
const BROKEN: u32 = 2;

/// The steps of a match that drops broken packets: what it looks for is there, or is not. A broken packet
/// is dropped either way, but its opposite counts as true first.
fn found(routine: impl Into<Routine>, negated: bool) -> Vec<Step> {
    let broken = Test::equal(Field::Answer, BROKEN);
    let found = Test::equal(Field::Answer, YES);
    vec![
        Step::Ask(routine.into()),
        match negated {
            false => Step::demand(Test::Not(Box::new(broken))),
            true => Step::Doom(broken),
        },
        Step::require(found.negated_if(negated)),
    ]
}

/// Not a later fragment: those have no transport header to look at.
fn first_fragment() -> Step {
    Step::require(Test::equal(Field::FragmentOffset, 0))
}

/// So many bytes of transport header are there, or the packet is dropped.
fn transport_header(bytes: u32) -> Step {
    Step::demand(Test::at_least(Field::TransportLength, bytes))
}

/// A port lies in a range; no step when the option is absent.
fn port_step(field: Field, ports: &Option<Negatable<PortRange>>) -> Option<Step> {
    let ports = ports.as_ref()?;
    Some(require(ports, |range| port_test(field, range)))
}

fn port_test(field: Field, range: &PortRange) -> Test {
    Test::between(field, range.low, range.high)
}
