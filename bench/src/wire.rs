//! Frames that arrive at an interface and are dropped: by an XDP program of ours, or by netfilter in raw
//! PREROUTING, by the same rules.
//!
//! Each contestant has a network namespace of its own with one end of a veth pair; the other ends are in the
//! namespace of the calling thread, from which the kernel sends frames as an XDP program would
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`). The receiving side works them off at once on the same processor, so the
//! time of a frame is that of its whole way: sending, veth, and the program, or a socket buffer and the tables.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::path::PathBuf;
use std::process;

use anyhow::{Context, Result, bail, ensure};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_difftest::frame::HOST_MAC;
use ipt2bpf_difftest::{netns, tool};
use ipt2bpf_runtime::{Loaded, Registry, Traffic, XdpWish, interfaces};
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use crate::effort::Effort;
use crate::measure::median;
use crate::nft;
use crate::oracle::Header;
use crate::packet_cost;
use crate::rules::{Kind, RuleSet};
use crate::subject;
use crate::yardsticks;

/// The receiving end of each pair.
const ARRIVAL: &str = "arrival";
/// Where BPF file systems are mounted.
const BPFFS: &str = "/sys/fs/bpf";
/// The kernel works off frames in batches of so many.
const BATCH: u32 = 64;
/// The most frames of a round.
const MOST_FRAMES: u32 = 1 << 16;

/// Who drops the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// An XDP program that does nothing else.
    EmptyXdp,
    /// What we compile, at XDP.
    Ours,
    /// iptables over xtables.
    IptablesLegacy,
    /// iptables over nftables.
    IptablesNft,
    /// One nft rule for each rule.
    Nft,
    /// One nft rule with a set of the addresses.
    NftSet,
    /// One rule of iptables-legacy with an ipset of the addresses.
    Ipset,
}

impl Contestant {
    /// Those that can have a kind of rules.
    fn for_kind(kind: Kind) -> Vec<Contestant> {
        use Contestant::*;
        let mut all = vec![EmptyXdp, Ours, IptablesLegacy, IptablesNft, Nft];
        if kind == Kind::Blocklist {
            all.extend([NftSet, Ipset]);
        }
        all
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Contestant::EmptyXdp => "empty XDP",
            Contestant::Ours => "ipt2bpf at XDP",
            Contestant::IptablesLegacy => "iptables-legacy",
            Contestant::IptablesNft => "iptables-nft",
            Contestant::Nft => "nft",
            Contestant::NftSet => "nft set",
            Contestant::Ipset => "ipset",
        })
    }
}

/// What a frame costs a contestant.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WireCost {
    /// Who.
    pub contestant: Contestant,
    /// Nanoseconds for a frame, as the median over the rounds.
    pub ns: f64,
    /// How many times ours that is, likewise.
    pub times_ours: f64,
}

/// Lets all contestants drop the same packets by the same rules, in turns.
///
/// # Errors
/// When a tool fails, or frames do not come to where they are to be dropped.
pub fn run(
    kind: Kind,
    set: &RuleSet,
    packets: &[Header],
    options: &Options,
    effort: &Effort,
) -> Result<Vec<WireCost>> {
    netns::isolated(|| {
        // Who stays on one processor passes that on to the threads that it starts.
        let traffic = packet_cost::traffic(packets)?;
        let mut stands = Vec::new();
        for contestant in Contestant::for_kind(kind) {
            let stand = Stand::new(contestant, set, options)
                .with_context(|| format!("cannot prepare {contestant}"))?;
            stands.push(stand);
        }
        for stand in &mut stands {
            stand.choose_count(&traffic, effort.wire_ms)?;
        }
        let mut rounds = Vec::with_capacity(effort.rounds);
        for _ in 0..effort.rounds {
            let round = stands.iter_mut().map(|stand| stand.send(&traffic));
            rounds.push(round.collect::<Result<Vec<f64>>>()?);
        }
        stands.iter().try_for_each(Stand::check)?;
        let is_ours = |stand: &Stand| stand.contestant == Contestant::Ours;
        let ours = stands.iter().position(is_ours);
        let ours = ours.context("ours is among them")?;
        let costs = stands.iter().enumerate().map(|(place, stand)| WireCost {
            contestant: stand.contestant,
            ns: median(rounds.iter().map(|round| round[place])),
            times_ours: median(rounds.iter().map(|round| round[place] / round[ours])),
        });
        Ok(costs.collect())
    })
}

/// A contestant in its namespace.
struct Stand {
    contestant: Contestant,
    namespace: Namespace,
    /// The sending end of the pair.
    interface: u32,
    /// Frames of a round.
    frames: u32,
    /// Frames of all rounds.
    sent: u64,
    /// What is attached, if it is an XDP program.
    attached: Option<Attached>,
}

impl Stand {
    fn new(contestant: Contestant, set: &RuleSet, options: &Options) -> Result<Stand> {
        let label = format!("{contestant:?}").to_lowercase();
        let namespace = Namespace::new(&format!("ipt2bpf-bench-{}-{label}", process::id()))?;
        let sending = format!("to-{}", &label[..label.len().min(12)]);
        let mac = HOST_MAC.map(|byte| format!("{byte:02x}")).join(":");
        let name = &namespace.0;
        tool::run(
            "ip",
            &["-batch", "-"],
            &format!(
                "link add {sending} up type veth peer name {ARRIVAL} netns {name} address {mac}\n"
            ),
        )?;
        // Nothing but the frames is to arrive.
        namespace.run("sysctl", &["-qw", "net.ipv6.conf.all.disable_ipv6=1"], "")?;
        namespace.run("ip", &["link", "set", ARRIVAL, "up"], "")?;
        let mut attached = None;
        match contestant {
            Contestant::EmptyXdp => {
                attached = Some(Attached::new(yardsticks::empty()?, &namespace)?);
            }
            Contestant::Ours => {
                let (loaded, _) = subject::build(&set.to_string(), None, options)?;
                attached = Some(Attached::new(loaded, &namespace)?);
            }
            _ => {
                // With it, the pair has the queue that live frames go into.
                namespace.run("ethtool", &["-K", ARRIVAL, "gro", "on"], "")?;
                prepare(contestant, &namespace, set)?;
            }
        }
        let found = interfaces()?.into_iter().find(|it| it.name == sending);
        Ok(Stand {
            contestant,
            interface: found.context("the pair is not there")?.index,
            namespace,
            frames: BATCH,
            sent: 0,
            attached,
        })
    }

    /// Takes so many frames for a round as fill its time.
    fn choose_count(&mut self, traffic: &Traffic, milliseconds: f64) -> Result<()> {
        self.send(traffic)?;
        let ns = self.send(traffic)?;
        let frames = (milliseconds * 1e6 / ns) as u32;
        self.frames = frames.next_multiple_of(BATCH).clamp(BATCH, MOST_FRAMES);
        Ok(())
    }

    /// Nanoseconds for a frame of a round.
    fn send(&mut self, traffic: &Traffic) -> Result<f64> {
        let ns = traffic.send(self.interface, self.frames)?;
        self.sent += u64::from(self.frames);
        Ok(ns.into())
    }

    /// All frames have come, and netfilter has let none go on.
    fn check(&self) -> Result<()> {
        let arrived: u64 = match &self.attached {
            Some(attached) if self.contestant == Contestant::Ours => {
                let counters = attached.loaded.maps().counters()?;
                // The tables of chains count jumps as well, so this is no less than the frames.
                counters.iter().map(|counter| counter.packets).sum()
            }
            Some(_) => self.sent,
            None => {
                let text = self.namespace.run("cat", &["/proc/net/snmp"], "")?;
                let delivered = ip_statistic(&text, "InDelivers")?;
                let forwarded = ip_statistic(&text, "ForwDatagrams")?;
                ensure!(
                    delivered + forwarded == 0,
                    "{}: {delivered} frames were delivered, {forwarded} forwarded",
                    self.contestant
                );
                ip_statistic(&text, "InReceives")?
            }
        };
        ensure!(
            arrived >= self.sent,
            "{}: {arrived} of {} frames arrived",
            self.contestant,
            self.sent
        );
        Ok(())
    }
}

/// A figure of the IP layer (`/proc/net/snmp`: a line of names and one of numbers).
fn ip_statistic(text: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (names, numbers) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let mut pairs = names.split(' ').zip(numbers.split(' '));
    let (_, number) = pairs
        .find(|&(it, _)| it == name)
        .with_context(|| format!("there is no {name}"))?;
    Ok(number.parse()?)
}

/// Gives netfilter the rules.
fn prepare(contestant: Contestant, namespace: &Namespace, set: &RuleSet) -> Result<()> {
    match contestant {
        Contestant::IptablesLegacy => {
            namespace.run("iptables-legacy-restore", &[], &set.to_string())?;
        }
        Contestant::IptablesNft => {
            namespace.run("iptables-nft-restore", &[], &set.to_string())?;
        }
        Contestant::Nft => {
            namespace.run("nft", &["-f", "-"], &nft::rules(set))?;
        }
        Contestant::NftSet => {
            namespace.run("nft", &["-f", "-"], &nft::blocklist(set))?;
        }
        Contestant::Ipset => {
            let count = set.chains[0].rules.len();
            let mut elements = format!("create blocked hash:ip maxelem {}\n", count.max(1));
            for rule in &set.chains[0].rules {
                writeln!(elements, "add blocked {}", rule.matches.source)?;
            }
            namespace.run("ipset", &["restore"], &elements)?;
            let rules = format!(
                "*raw\n:PREROUTING {} [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                 -A PREROUTING -m set --match-set blocked src -j DROP\nCOMMIT\n",
                set.policy
            );
            namespace.run("iptables-legacy-restore", &[], &rules)?;
        }
        Contestant::EmptyXdp | Contestant::Ours => bail!("{contestant} is no part of netfilter"),
    }
    Ok(())
}

/// A network namespace with a name, which goes with this value.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Result<Namespace> {
        tool::run("ip", &["netns", "add", name], "")?;
        Ok(Namespace(name.to_owned()))
    }

    /// Runs a tool in it.
    fn run(&self, tool: &str, arguments: &[&str], input: &str) -> Result<String> {
        let inside = ["netns", "exec", &self.0, tool];
        tool::run("ip", &[&inside, arguments].concat(), input)
    }

    /// Runs a closure on a thread in it.
    fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(format!("/run/netns/{}", self.0))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).context("cannot enter a namespace")?;
                work()
            });
            thread.join().unwrap_or_else(|_| bail!("the thread died"))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // There is nobody to tell, and nothing else to do.
        tool::run("ip", &["netns", "del", &self.0], "").ok();
    }
}

/// A program at the arriving end of a pair, which goes with this value.
struct Attached {
    loaded: Loaded,
    registry: Registry,
    root: PathBuf,
}

impl Attached {
    fn new(loaded: Loaded, namespace: &Namespace) -> Result<Attached> {
        let root = PathBuf::from(BPFFS).join(&namespace.0);
        let registry = Registry::at(&root);
        let attached = Attached {
            loaded,
            registry,
            root,
        };
        namespace.enter(|| {
            let (registry, loaded) = (&attached.registry, &attached.loaded);
            Ok(registry.attach_xdp(loaded, &[ARRIVAL], XdpWish::default())?)
        })?;
        Ok(attached)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // As above.
        for attachment in self.registry.list().unwrap_or_default() {
            if attachment.hook == Hook::Xdp {
                self.registry.detach(&attachment).ok();
            }
        }
        std::fs::remove_dir(&self.root).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_found_by_their_names() {
        let text = "Ip: Forwarding InReceives InDelivers\nIp: 2 500 7\nIcmp: InMsgs\nIcmp: 1\n";
        assert_eq!(ip_statistic(text, "InReceives").ok(), Some(500));
        assert_eq!(ip_statistic(text, "InDelivers").ok(), Some(7));
        assert!(ip_statistic(text, "Nothing").is_err());
    }
}
