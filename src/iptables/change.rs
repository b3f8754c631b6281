//! `iptables`: one command.

use std::net::IpAddr;

use bstr::BString;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{About, Change, Invocation};
use ipt2bpf_runtime::system_names;

use super::failure::Failure;
use super::filter::{Filter, For};
use super::{Program, VERSION};
use crate::messages::Reporter;
use crate::output;
use crate::show::Selection;

/// Carries out the command that the words are.
///
/// # Errors
/// [`Failure`].
pub fn run(
    program: Program,
    words: &[BString],
    selection: &Selection,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let names = system_names();
    let mut sources = Sources::default();
    let read = Invocation::read(words, program.family, &names, &mut sources);
    let command = read.map_err(Failure::Command)?;
    match command.about() {
        Some(About::Version) => {
            return Ok(output::print(
                format!("{} {VERSION}\n", program.name()).as_bytes(),
            )?);
        }
        Some(About::Help) => return Ok(output::print(help(program).as_bytes())?),
        None => {}
    }
    if command.has_wait_interval() {
        eprintln!("Ignoring deprecated --wait-interval option.");
    }
    let purpose = For::Changing(command.wait());
    let mut filter = Filter::open(selection, &purpose, &mut sources)?;
    let outcome = command.carry_out(filter.ruleset(program.family), &host_name);
    output::print(&outcome.output)?;
    match outcome.change.map_err(Failure::Command)? {
        Change::Nothing => Ok(()),
        Change::Counters => filter.keep_counters(),
        Change::Rules => filter.keep_rules(sources, reporter),
    }
}

/// The name of a host, as the system's resolver finds it.
fn host_name(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    // The resolver gives the address where it has no name.
    name.parse::<IpAddr>().is_err().then_some(name)
}

fn help(program: Program) -> String {
    let name = program.name();
    format!(
        "{name} {VERSION}

Usage: {name} -[ACD] chain rule-specification [options]
       {name} -I chain [rulenum] rule-specification [options]
       {name} -R chain rulenum rule-specification [options]
       {name} -D chain rulenum [options]
       {name} -[LS] [chain [rulenum]] [options]
       {name} -[FZ] [chain] [options]
       {name} -[NX] chain
       {name} -E old-chain-name new-chain-name
       {name} -P chain target [options]

The commands and options are those of {name}(8). They work on a filter that ipt2bpf has attached;
`ipt2bpf help iptables` says which.
"
    )
}
