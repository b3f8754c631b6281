//! The arguments that several subcommands share, and the list of subcommands.

use std::path::PathBuf;

use clap::builder::styling::Styles;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ipt2bpf_codegen::classify::Strategy;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{
    ConnectionTable, DEFAULT_MAX_MEMORY, DeviceNames, Options, XdpPath,
};
use ipt2bpf_codegen::track::MAX_FLOWS;
use ipt2bpf_codegen::track::timeouts::{Timeouts, Unknown};
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::{XdpWish, kernel};
use ipt2bpf_umh::place;
use ipt2bpf_umh::request::Choices;

use crate::{
    attach, call, check, compile, compiler, conntrack, detach, explain, iptables, load, log,
    manual, metrics, replace, run, serve, set, show, systemd, top, watch, zero,
};

const EXAMPLES: &str = "\
Examples:
  iptables-save | ipt2bpf -o firewall.o
  ipt2bpf check rules.v4 rules.v6
  ipt2bpf explain rules.v4 --packet \"tcp 10.0.0.5:40000 > 192.0.2.1:22 syn in eth0\"
  ipt2bpf explain rules.v4 --pcap eth0.pcap --local 192.0.2.1 --in eth0 --out eth0
  ipt2bpf attach --cgroup /sys/fs/cgroup/system.slice rules.v4 rules.v6
  ipt2bpf show -c

Exit status: 0 done; 1 the input is wrong or cannot be translated; 2 wrong usage; 3 the kernel refused.";

/// Turns iptables rulesets into BPF programs with the same verdicts
///
/// Reads what iptables-save and ip6tables-save print and writes one BPF object (ELF) for libbpf,
/// bpftool and other loaders: a program for each hook, filtering both families. Nothing is written
/// when a rule cannot be translated exactly, unless --approximate is given. A packet of a family
/// for which there is no ruleset passes.
#[derive(Debug, Parser)]
#[command(
    name = "ipt2bpf",
    version,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES,
    styles = Styles::styled()
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub compile: compile::Arguments,
    /// How messages are written to standard error
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "human"
    )]
    pub message_format: MessageFormat,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Check(check::Arguments),
    Explain(explain::Arguments),
    Load(load::Arguments),
    Attach(attach::Arguments),
    Replace(replace::Arguments),
    Detach(detach::Arguments),
    /// Lists what ipt2bpf has attached
    List,
    #[command(visible_alias = "save")]
    Show(show::Arguments),
    Log(log::Arguments),
    Conntrack(conntrack::Arguments),
    Set(set::Arguments),
    Top(top::Arguments),
    Metrics(metrics::Arguments),
    Systemd(systemd::Arguments),
    Watch(watch::Arguments),
    Zero(zero::Arguments),
    Run(run::Arguments),
    Serve(serve::Arguments),
    Call(call::Arguments),
    #[command(hide = true)]
    Compiler(compiler::Arguments),
    Iptables(iptables::Arguments),
    /// The same as iptables, for the rules of IPv6
    Ip6tables(iptables::Arguments),
    IptablesSave(iptables::Save),
    /// The same as iptables-save, for the rules of IPv6
    Ip6tablesSave(iptables::Save),
    IptablesRestore(iptables::Restore),
    /// The same as iptables-restore, for the rules of IPv6
    Ip6tablesRestore(iptables::Restore),
    Man(manual::Pages),
    Completions(manual::Completions),
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// Text with the lines it is about
    Human,
    /// One JSON object per line
    Json,
}

/// Where the rules come from.
#[derive(Debug, Args)]
pub struct Rules {
    /// The rules are IPv4, whatever they look like
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// The rules are IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Put the rules of each file onto those of the files before it, as iptables-restore --noflush does
    #[arg(short, long)]
    pub noflush: bool,
    /// Files as iptables-save writes them; standard input when none is given, or for -
    #[arg(value_name = "RULES")]
    pub files: Vec<PathBuf>,
}

impl Rules {
    /// A subcommand that stands behind options, where it is taken for a file.
    ///
    /// None when there is such a file.
    pub fn late_subcommand(&self) -> Option<&str> {
        let names = self.files.iter().filter(|file| !file.exists());
        names
            .filter_map(|file| file.to_str())
            .find(|&name| Cli::command().find_subcommand(name).is_some())
    }

    /// The family that the user names.
    pub fn family(&self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        }
    }
}

/// Where the sets come from.
#[derive(Debug, Args)]
pub struct Sets {
    /// Sets that the rules ask for, as ipset save prints them; may be repeated
    #[arg(long, value_name = "FILE")]
    pub ipset: Vec<PathBuf>,
}

impl Sets {
    /// Whether the user gives any, so that one that is missing is missing.
    pub fn are_given(&self) -> bool {
        !self.ipset.is_empty()
    }
}

/// The hooks, as libbpf names their sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HookName {
    /// Packets that sockets of a cgroup receive: PREROUTING and INPUT
    #[value(name = "cgroup_skb/ingress")]
    CgroupIngress,
    /// Packets that sockets of a cgroup send: OUTPUT and POSTROUTING
    #[value(name = "cgroup_skb/egress")]
    CgroupEgress,
    /// Frames that an interface receives: PREROUTING and INPUT or FORWARD
    #[value(name = "xdp")]
    Xdp,
}

impl From<HookName> for Hook {
    fn from(name: HookName) -> Hook {
        match name {
            HookName::CgroupIngress => Hook::CgroupIngress,
            HookName::CgroupEgress => Hook::CgroupEgress,
            HookName::Xdp => Hook::Xdp,
        }
    }
}

/// What INPUT and FORWARD are at XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpPathName {
    /// What the kernel's routing says of each packet
    #[default]
    Auto,
    /// All packets are for this host
    Input,
    /// All packets are for others
    Forward,
}

impl From<XdpPathName> for XdpPath {
    fn from(name: XdpPathName) -> XdpPath {
        match name {
            XdpPathName::Auto => XdpPath::Auto,
            XdpPathName::Input => XdpPath::Input,
            XdpPathName::Forward => XdpPath::Forward,
        }
    }
}

/// Which hooks to translate for.
#[derive(Debug, Args)]
pub struct Hooks {
    /// Only this hook; may be repeated
    #[arg(long = "hook", value_enum, value_name = "HOOK")]
    hooks: Vec<HookName>,
    /// Which of INPUT and FORWARD an XDP program runs
    #[arg(long, value_enum, value_name = "PATH", default_value = "auto")]
    xdp_path: XdpPathName,
}

impl Hooks {
    /// The hooks that the user names.
    pub fn named(&self) -> Vec<Hook> {
        self.hooks.iter().map(|&name| name.into()).collect()
    }

    /// The choices that these arguments make.
    pub fn options(&self) -> Options {
        Options {
            hooks: self.named(),
            xdp_path: self.xdp_path.into(),
            ..Options::default()
        }
    }
}

/// Whose connections rules ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ConntrackName {
    /// Those that the programs track
    #[default]
    Own,
    /// Those of netfilter, where it tracks them in this network namespace
    Kernel,
}

/// How connections are tracked.
#[derive(Clone, Debug, Args)]
pub struct Tracking {
    /// Whose connections rules ask for
    ///
    /// The kernel's are there only where something has it track them, such as a rule of iptables with -m
    /// conntrack, and take Linux 6.2 (cgroup_skb/ingress: 6.4). `check` tells what each hook does not know of
    /// them.
    #[arg(long, value_enum, value_name = "WHOSE", default_value = "own")]
    conntrack: ConntrackName,
    /// How many connections are remembered at most, where rules ask for their state
    ///
    /// A full table forgets those that have been silent longest. An entry takes about 200 bytes, which the
    /// kernel sets aside at once.
    #[arg(long, value_name = "N", default_value_t = MAX_FLOWS, value_parser = clap::value_parser!(u32).range(1024..=16_777_216))]
    connections: u32,
    /// How long a connection is remembered after a packet, such as tcp_timeout_established=86400
    ///
    /// NAME is that of the kernel's sysctl net.netfilter.nf_conntrack_NAME, whose default holds where nothing is
    /// said. Times of ICMP hold for ICMPv6, too.
    #[arg(long = "timeout", value_name = "NAME=SECONDS", value_parser = timeout)]
    timeouts: Vec<Timeout>,
}

/// A time that was chosen by its name.
#[derive(Clone, Debug)]
struct Timeout {
    name: String,
    seconds: u32,
}

/// A time, which [`Timeouts::set`] takes.
fn timeout(text: &str) -> Result<Timeout, String> {
    let (name, seconds) = text.split_once('=').ok_or("not NAME=SECONDS")?;
    let seconds = seconds.parse().map_err(|_| Unknown::Seconds.to_string())?;
    let chosen = Timeouts::default().set(name, seconds);
    chosen.map_err(|unknown| unknown.to_string())?;
    Ok(Timeout {
        name: name.to_owned(),
        seconds,
    })
}

impl Tracking {
    /// The choices, changed by these arguments.
    pub fn apply(&self, options: Options) -> Options {
        let mut timeouts = options.timeouts;
        for Timeout { name, seconds } in &self.timeouts {
            // What cannot be set was refused when it was read.
            let _ = timeouts.set(name, *seconds);
        }
        let (conntrack, device_names) = match (self.conntrack, options.device_names) {
            (ConntrackName::Own, names) => (ConnectionTable::Own, names),
            // Only programs that look into the kernel's structures find them there.
            (ConntrackName::Kernel, DeviceNames::Table) => {
                (ConnectionTable::Kernel, DeviceNames::Relocated)
            }
            (ConntrackName::Kernel, names) => (ConnectionTable::Kernel, names),
        };
        Options {
            connections: self.connections,
            timeouts,
            conntrack,
            device_names,
            ..options
        }
    }
}

/// How rules are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StrategyName {
    /// As is fastest, for each run of rules
    #[default]
    Auto,
    /// One rule after the other
    Straight,
    /// Tables of equivalence classes
    Tables,
    /// A look-up, where rules differ in one field only
    Lookup,
    /// Lists of rules for each address
    Hybrid,
}

impl From<StrategyName> for Option<Strategy> {
    fn from(name: StrategyName) -> Self {
        match name {
            StrategyName::Auto => None,
            StrategyName::Straight => Some(Strategy::Straight),
            StrategyName::Tables => Some(Strategy::Tables),
            StrategyName::Lookup => Some(Strategy::Lookup),
            StrategyName::Hybrid => Some(Strategy::Hybrid),
        }
    }
}

/// How programs decide.
#[derive(Clone, Copy, Debug, Args)]
pub struct Deciding {
    /// How runs of rules are decided that only test and count; one after the other where it cannot be so
    #[arg(long, value_enum, value_name = "STRATEGY", default_value = "auto")]
    strategy: StrategyName,
    /// How many bytes the tables of a run of rules may take
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_MEMORY)]
    max_memory: usize,
}

impl Deciding {
    /// The choices, changed by these arguments.
    pub fn apply(self, options: Options) -> Options {
        Options {
            strategy: self.strategy.into(),
            max_memory: self.max_memory,
            ..options
        }
    }
}

/// The clock of the kernel that runs the programs.
#[derive(Clone, Copy, Debug, Args)]
pub struct Clock {
    /// Ticks of the clock in a second of the kernel that runs the programs (CONFIG_HZ); without it those
    /// of this one
    ///
    /// The kernel counts rates such as those of -m limit in ticks.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(24..=10_000))]
    hz: Option<u32>,
}

impl Clock {
    /// The choices, changed by these arguments.
    pub fn apply(self, options: Options) -> Options {
        Options {
            tick_rate: self.hz.unwrap_or_else(kernel::tick_rate),
            ..options
        }
    }
}

/// What may be given up.
#[derive(Clone, Copy, Debug, Args)]
pub struct Leniency {
    /// Translate rules that cannot be decided so that they err towards dropping, each with a warning
    #[arg(long)]
    pub approximate: bool,
    /// Leave nat rules out even where later rules would see translated addresses
    #[arg(long)]
    pub ignore_nat: bool,
}

impl Leniency {
    /// The same, for tables that change while the helper runs: what is not asked for is as it is there.
    pub fn choices(self) -> Choices {
        Choices {
            approximate: self.approximate.then_some(true),
            ignore_nat: self.ignore_nat.then_some(true),
            ..Choices::default()
        }
    }

    /// The choices, changed by these arguments.
    pub fn apply(self, options: Options) -> Options {
        Options {
            approximate: self.approximate,
            ignore_nat: self.ignore_nat,
            ..options
        }
    }
}

/// Where programs are attached.
#[derive(Debug, Default, Args)]
#[group(id = "place", multiple = false)]
pub struct Place {
    /// A directory of the cgroup v2 hierarchy
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// A network interface; may be repeated
    #[arg(long, value_name = "IFACE")]
    pub xdp: Vec<String>,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpModeName {
    /// In the driver where it can, else in the stack
    #[default]
    Auto,
    /// In the driver or not at all
    Native,
    /// In the stack
    Skb,
    /// Called by a dispatcher of libxdp, beside programs of others, also where there is none yet
    Dispatcher,
}

impl From<XdpModeName> for XdpWish {
    fn from(name: XdpModeName) -> XdpWish {
        match name {
            XdpModeName::Auto => XdpWish::Auto,
            XdpModeName::Native => XdpWish::Native,
            XdpModeName::Skb => XdpWish::Generic,
            XdpModeName::Dispatcher => XdpWish::Dispatched,
        }
    }
}

impl Place {
    /// What the user chooses, if anything.
    pub fn chosen(&self) -> Option<place::Place> {
        match &self.cgroup {
            Some(path) => Some(place::Place::Cgroup(path.clone())),
            None if self.xdp.is_empty() => None,
            None => Some(place::Place::Interfaces(self.xdp.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn hooks_are_named_as_their_sections() {
        for name in HookName::value_variants() {
            let shown = name
                .to_possible_value()
                .map(|value| value.get_name().to_owned());
            assert_eq!(shown.as_deref(), Some(Hook::from(*name).section()));
        }
    }
}
