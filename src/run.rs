//! `run`: a command whose iptables calls change BPF programs, not the kernel's tables.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use anyhow::Result;
use clap::Args;
use ipt2bpf_runtime::Registry;
use ipt2bpf_umh::run;
use ipt2bpf_umh::xtables::Tables;

use crate::cli::{Leniency, Place};
use crate::compiler::Bounds;
use crate::failure::{Exit, Usage};

const EXAMPLES: &str = "\
Examples:
  ipt2bpf run --cgroup /sys/fs/cgroup -- iptables -A INPUT -p tcp --dport 22 -j DROP
  ipt2bpf run --xdp eth0 -- iptables-restore rules.v4
  ipt2bpf run --cgroup /sys/fs/cgroup -- sh -c 'iptables-save; ip6tables-save'";

/// Runs a command whose iptables calls change BPF programs at a place
///
/// The command, and what it starts, may be any program that speaks to the kernel as iptables-legacy and
/// ip6tables-legacy do. Each change is attached at once, in one step; the rules and counters that it reads are
/// those in force. They stay when the command ends. Rules that stay as they were keep their limits and quotas, which
/// the kernel lets begin anew, and the choices that the filter was attached with hold. Calls from other network
/// namespaces go to the kernel.
#[derive(Debug, Args)]
#[command(mut_group("place", |group| group.required(true)), after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    leniency: Leniency,
    #[command(flatten)]
    bounds: Bounds,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let no_place = || Usage("--cgroup or --xdp tells where the programs are".into());
    let tables = Tables {
        place: arguments.place.chosen().ok_or_else(no_place)?,
        registry: Registry::find()?,
        pool: arguments.bounds.pool(),
        choices: arguments.leniency.choices(),
    };
    let no_command = || Usage("no COMMAND is given".into());
    let (program, rest) = arguments.command.split_first().ok_or_else(no_command)?;
    let mut command = Command::new(program);
    command.args(rest);
    let status = run::run(command, tables)?;
    // As shells have it.
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or(0),
    };
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        code => Err(Exit(code.unwrap_or(u8::MAX)).into()),
    }
}
