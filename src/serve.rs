//! `serve`: the helper, which compiles, loads and attaches for others.

use std::io::{stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ipt2bpf_runtime::Registry;
use ipt2bpf_umh::cache::Cache;
use ipt2bpf_umh::server::{Bounds as ServerBounds, Server};
use ipt2bpf_umh::service::Service;
use ipt2bpf_umh::xtables::Tables;
use ipt2bpf_umh::{mbox, socket};

use crate::cli::{Leniency, Place};
use crate::compiler::Bounds;
use crate::failure::Usage;

/// The group that may load and attach, where it exists and nobody names another.
const GROUP: &str = "ipt2bpf";
/// How much of earlier answers is kept, in bytes.
const CACHE: usize = 64 << 20;

/// Compiles, loads and attaches for others, by Varlink on a socket
///
/// Each ruleset is compiled in a process without any rights. The methods stand in the interface description
/// (`ipt2bpf call org.varlink.service.GetInterfaceDescription '{"interface": "io.ipt2bpf"}'`). Who may
/// connect may compile; to load and attach takes root or the group. A socket that systemd hands over is used
/// before any other.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "PATH", default_value = socket::PATH)]
    socket: PathBuf,
    /// The group that may connect, load and attach [default: ipt2bpf, if there is one]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// How many clients there may be at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,
    /// Seconds that a request may take to arrive, and a reply to be read
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,
    /// Megabytes that a request may have
    #[arg(long, value_name = "MB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100))]
    request: u32,
    #[command(flatten)]
    bounds: Bounds,
    /// Speak the protocol of the kernel's bpfilter on standard input and output, instead, for the tables of
    /// a place
    #[arg(long, requires = "place")]
    mbox: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    leniency: Leniency,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match arguments.place.chosen() {
        Some(place) if arguments.mbox => {
            let tables = Tables {
                place,
                registry: Registry::find()?,
                pool: arguments.bounds.pool(),
                choices: arguments.leniency.choices(),
            };
            Ok(mbox::serve(stdin().lock(), stdout().lock(), &tables)?)
        }
        Some(_) => {
            Err(Usage("--cgroup and --xdp go with --mbox; clients name their own".into()).into())
        }
        None => listen(arguments),
    }
}

fn listen(arguments: &Arguments) -> Result<()> {
    let group = match &arguments.group {
        None => socket::group(GROUP),
        Some(name) => {
            let unknown = || Usage(format!("there is no group {name}"));
            Some(socket::group(name).ok_or_else(unknown)?)
        }
    };
    let listener = match socket::activated()? {
        Some(listener) => listener,
        None => socket::bind(&arguments.socket, group)?,
    };
    let request_limit = (arguments.request as usize) << 20;
    let service = Service {
        pool: arguments.bounds.pool(),
        registry: Registry::find().ok(),
        group,
        request_limit,
        cache: Cache::new(CACHE),
    };
    let bounds = ServerBounds {
        connections: arguments.clients as usize,
        patience: Duration::from_secs(arguments.patience),
        // Room for some of the largest at once.
        memory: 8 * request_limit,
    };
    let server = Server::new(service, bounds);
    socket::ready();
    Ok(server.serve(&listener)?)
}
