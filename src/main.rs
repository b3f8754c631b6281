//! The command `ipt2bpf`: iptables rulesets in, BPF programs out. One file per subcommand.

mod attach;
mod attachments;
mod call;
mod capture;
mod census;
mod check;
mod cli;
mod compile;
mod compiler;
mod conntrack;
mod detach;
mod explain;
mod failure;
mod groups;
mod hits;
mod input;
mod iptables;
mod list;
mod live;
mod load;
mod log;
mod manual;
mod messages;
mod metrics;
mod output;
mod replace;
mod run;
mod running;
mod serve;
mod set;
mod sets;
mod show;
mod systemd;
mod top;
mod watch;
mod zero;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use ipt2bpf_parser::ruleset::Family;

use crate::cli::{Cli, Command};
use crate::messages::Reporter;

fn main() -> ExitCode {
    let cli = Cli::parse_from(words());
    let reporter = Reporter::new(cli.message_format);
    let result = match cli.command {
        None => compile::run(&cli.compile, &reporter),
        Some(Command::Check(arguments)) => check::run(&arguments, &reporter),
        Some(Command::Explain(arguments)) => explain::run(&arguments, &reporter),
        Some(Command::Load(arguments)) => load::run(&arguments, &reporter),
        Some(Command::Attach(arguments)) => attach::run(&arguments, &reporter),
        Some(Command::Replace(arguments)) => replace::run(&arguments, &reporter),
        Some(Command::Detach(arguments)) => detach::run(&arguments),
        Some(Command::List) => list::run(),
        Some(Command::Show(arguments)) => show::run(&arguments),
        Some(Command::Conntrack(arguments)) => conntrack::run(&arguments, &reporter),
        Some(Command::Log(arguments)) => log::run(&arguments),
        Some(Command::Set(arguments)) => set::run(&arguments, &reporter),
        Some(Command::Top(arguments)) => top::run(&arguments),
        Some(Command::Watch(arguments)) => watch::run(&arguments, &reporter),
        Some(Command::Metrics(arguments)) => metrics::run(&arguments),
        Some(Command::Systemd(arguments)) => systemd::run(&arguments),
        Some(Command::Zero(arguments)) => zero::run(&arguments),
        Some(Command::Run(arguments)) => run::run(&arguments),
        Some(Command::Serve(arguments)) => serve::run(&arguments),
        Some(Command::Call(arguments)) => call::run(&arguments),
        Some(Command::Compiler(arguments)) => compiler::run(&arguments),
        Some(Command::Iptables(arguments)) => {
            return iptables::run(Family::V4, arguments, &reporter);
        }
        Some(Command::Ip6tables(arguments)) => {
            return iptables::run(Family::V6, arguments, &reporter);
        }
        Some(Command::IptablesSave(arguments)) => return iptables::save(Family::V4, &arguments),
        Some(Command::Ip6tablesSave(arguments)) => return iptables::save(Family::V6, &arguments),
        Some(Command::IptablesRestore(arguments)) => {
            return iptables::restore(Family::V4, &arguments, &reporter);
        }
        Some(Command::Ip6tablesRestore(arguments)) => {
            return iptables::restore(Family::V6, &arguments, &reporter);
        }
        Some(Command::Man(arguments)) => manual::pages(&arguments),
        Some(Command::Completions(arguments)) => manual::completions(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.failure(&error);
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

/// The words of the command line. A link's name stands for a subcommand.
fn words() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if let Some(subcommand) = words.first().and_then(iptables::subcommand_of_link) {
        words.insert(1, subcommand.into());
    }
    words
}
