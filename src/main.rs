//! The command `ipt2bpf`: iptables rulesets in, BPF programs out. One file per subcommand.

mod addresses;
mod attach;
mod attachments;
mod capture;
mod census;
mod check;
mod cli;
mod clock;
mod compile;
mod conntrack;
mod counters;
mod detach;
mod devices;
mod explain;
mod failure;
mod hits;
mod input;
mod list;
mod load;
mod log;
mod messages;
mod metrics;
mod output;
mod running;
mod set;
mod sets;
mod show;
mod story;
mod systemd;
mod top;
mod words;
mod zero;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::messages::Reporter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let reporter = Reporter::new(cli.message_format);
    let result = match cli.command {
        None => compile::run(&cli.compile, &reporter),
        Some(Command::Check(arguments)) => check::run(&arguments, &reporter),
        Some(Command::Explain(arguments)) => explain::run(&arguments, &reporter),
        Some(Command::Load(arguments)) => load::run(&arguments, &reporter),
        Some(Command::Attach(arguments)) => attach::run(&arguments, &reporter),
        Some(Command::Detach(arguments)) => detach::run(&arguments),
        Some(Command::List) => list::run(),
        Some(Command::Show(arguments)) => show::run(&arguments),
        Some(Command::Conntrack(arguments)) => conntrack::run(&arguments, &reporter),
        Some(Command::Log(arguments)) => log::run(&arguments),
        Some(Command::Set(arguments)) => set::run(&arguments, &reporter),
        Some(Command::Top(arguments)) => top::run(&arguments),
        Some(Command::Metrics(arguments)) => metrics::run(&arguments),
        Some(Command::Systemd(arguments)) => systemd::run(&arguments),
        Some(Command::Zero(arguments)) => zero::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.failure(&error);
            ExitCode::from(failure::exit_code(&error))
        }
    }
}
