//! `load`: programs and maps into the kernel, pinned and not attached.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ipt2bpf_runtime::Maps;

use crate::messages::Reporter;
use crate::running;

/// Loads programs into the kernel and pins them, attached to nothing
///
/// Pins the programs as DIR/ipt2bpf_ingress, DIR/ipt2bpf_egress and DIR/ipt2bpf_xdp and the maps below
/// DIR/maps, for systemd (IPIngressFilterPath=, IPEgressFilterPath=), bpftool and others to attach.
/// What an earlier load has pinned there is replaced; the lists of -m recent, the tables of -m hashlimit
/// and the connections that it has seen are kept.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A directory on a BPF file system, such as /sys/fs/bpf/firewall; made if need be
    #[arg(long, value_name = "DIR")]
    pin: PathBuf,
    #[command(flatten)]
    running: running::Arguments,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let replaced = Maps::open(&arguments.pin)?;
    let loaded = arguments
        .running
        .load(arguments.running.hooks.named(), &[replaced], reporter)?;
    loaded.pin(&arguments.pin)?;
    Ok(())
}
