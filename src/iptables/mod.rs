//! `iptables` and its siblings on an attached filter: the commands of iptables, in its words and with its
//! answers.

mod change;
mod failure;
mod filter;
mod old;
mod restore;
mod save;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use bstr::BString;
use clap::Args;
use ipt2bpf_parser::ruleset::Family;

use crate::messages::Reporter;
use crate::show::Selection;

pub use restore::Arguments as Restore;
pub use save::Arguments as Save;

/// The version of iptables whose language this speaks, and what it speaks to, as in `v1.8.9 (nf_tables)`.
const VERSION: &str = "v1.8.9 (bpf)";

/// Carries out a command of iptables on an attached filter
///
/// Takes the commands and options of iptables(8), prints what it prints and exits as it does. What an
/// unchanged rule has counted and remembered stays. Works under the name `iptables-bpf`, too.
///
/// Which filter is meant is said before the command, or in the environment variable IPT2BPF_FILTER as
/// cgroup:PATH, xdp:IFACE or pin:DIR; or there is only one.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// A command of iptables with its options, such as -A INPUT -p tcp --dport 22 -j ACCEPT
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    words: Vec<OsString>,
}

/// One of the programs of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    family: Family,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Change,
    Save,
    Restore,
}

impl Program {
    /// `iptables` or `ip6tables`.
    fn change(family: Family) -> Self {
        let kind = Kind::Change;
        Self { family, kind }
    }

    /// The program's name.
    fn name(self) -> &'static str {
        match (self.family, self.kind) {
            (Family::V4, Kind::Change) => "iptables",
            (Family::V4, Kind::Save) => "iptables-save",
            (Family::V4, Kind::Restore) => "iptables-restore",
            (Family::V6, Kind::Change) => "ip6tables",
            (Family::V6, Kind::Save) => "ip6tables-save",
            (Family::V6, Kind::Restore) => "ip6tables-restore",
        }
    }
}

/// The subcommand that the command stands for when it is called by the name of a link.
pub fn subcommand_of_link(program: &OsString) -> Option<&'static str> {
    Some(match Path::new(program).file_name()?.to_str()? {
        "iptables-bpf" => "iptables",
        "iptables-bpf-save" => "iptables-save",
        "iptables-bpf-restore" => "iptables-restore",
        "ip6tables-bpf" => "ip6tables",
        "ip6tables-bpf-save" => "ip6tables-save",
        "ip6tables-bpf-restore" => "ip6tables-restore",
        _ => return None,
    })
}

/// `iptables` or `ip6tables`.
pub fn run(family: Family, arguments: Arguments, reporter: &Reporter) -> ExitCode {
    let Arguments { selection, words } = arguments;
    let words: Vec<BString> = words
        .into_iter()
        .map(|word| BString::from(word.into_vec()))
        .collect();
    let program = Program::change(family);
    failure::conclude(program, change::run(program, &words, &selection, reporter))
}

/// `iptables-save` or `ip6tables-save`.
pub fn save(family: Family, arguments: &Save) -> ExitCode {
    let kind = Kind::Save;
    let program = Program { family, kind };
    failure::conclude(program, save::run(program, arguments))
}

/// `iptables-restore` or `ip6tables-restore`.
pub fn restore(family: Family, arguments: &Restore, reporter: &Reporter) -> ExitCode {
    let kind = Kind::Restore;
    let program = Program { family, kind };
    failure::conclude(program, restore::run(program, arguments, reporter))
}
