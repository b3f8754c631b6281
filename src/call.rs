//! `call`: a method of the helper, for shells.

use std::fs;
use std::io::{Read, stdin};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ipt2bpf_umh::client::Client;
use ipt2bpf_umh::socket;
use serde_json::Value;

use crate::failure::Usage;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  ipt2bpf call GetCapabilities
  ipt2bpf call Check '{\"rules\": {\"texts\": [\"*filter\\n-A INPUT -j DROP\\nCOMMIT\\n\"]}}'
  jq -Rs '{rules: {texts: [.]}, memfd: true}' rules.v4 | ipt2bpf call Compile - --file firewall.o
  ipt2bpf call --more Monitor '{\"place\": {\"cgroup\": \"/sys/fs/cgroup/system.slice\"}}'";

/// Calls a method of the helper and prints its answer, as JSON on a line
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The method; without an interface, that of io.ipt2bpf
    #[arg(value_name = "METHOD")]
    method: String,
    /// Its parameters as a JSON object; - for standard input
    #[arg(value_name = "JSON", default_value = "{}")]
    parameters: String,
    /// Where the helper listens
    #[arg(long, value_name = "PATH", default_value = socket::PATH)]
    socket: PathBuf,
    /// Print answers as long as there are more
    #[arg(long)]
    more: bool,
    /// Write the file that comes with the answer here
    #[arg(long, value_name = "FILE", conflicts_with = "more")]
    file: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let parameters = match arguments.parameters.as_str() {
        "-" => {
            let mut text = String::new();
            stdin().read_to_string(&mut text)?;
            text
        }
        text => text.to_owned(),
    };
    let wrong = |error| Usage(format!("the parameters are no JSON: {error}"));
    let parameters: Value = serde_json::from_str(&parameters).map_err(wrong)?;
    let method = match arguments.method.contains('.') {
        true => arguments.method.clone(),
        false => format!("io.ipt2bpf.{}", arguments.method),
    };
    let place = || arguments.socket.display().to_string();
    let mut client = Client::connect(&arguments.socket).with_context(place)?;
    if arguments.more {
        client.call_for_more(&method, &parameters)?;
        loop {
            let answer = client.receive()?;
            output::print(format!("{}\n", answer.parameters).as_bytes())?;
            if !answer.continues {
                return Ok(());
            }
        }
    }
    let answer = client.call(&method, &parameters)?;
    output::print(format!("{}\n", answer.parameters).as_bytes())?;
    if let Some(path) = &arguments.file {
        let first = answer.descriptors.into_iter().next();
        let first: OwnedFd = first.context("no file came with the answer")?;
        let mut bytes = Vec::new();
        fs::File::from(first).read_to_end(&mut bytes)?;
        output::write(Some(path), &bytes)?;
    }
    Ok(())
}
