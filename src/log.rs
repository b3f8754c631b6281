//! `log`: what rules tell of packets, as the kernel's log would say it.

use std::fs::File;
use std::io::{Write, stdout};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use ipt2bpf_codegen::log::book::Told;
use ipt2bpf_codegen::log::pcap;
use ipt2bpf_codegen::log::record::Record;
use ipt2bpf_runtime::{Enough, Log, LogNames, Ring, since_epoch};

use crate::show::{InForce, Selection};

/// How long a loss of records may go unsaid.
const PATIENCE: Duration = Duration::from_secs(1);
/// The facility of the kernel's own messages (syslog(3)), shifted as it is sent.
const KERNEL: u8 = 0;

/// Prints the lines of LOG, NFLOG and TRACE rules, as the kernel's log has them
///
/// Begins with what nobody has read yet and goes on until it is interrupted. Each line is read once:
/// of two readers at one place, each gets a part. Interfaces are named as in this network namespace.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Go on as lines come, which is done without it, too
    #[arg(short, long)]
    follow: bool,
    /// Stop after so many packets
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    count: Option<u64>,
    /// Send lines to the system log, with their levels, instead of printing them
    #[arg(
        long,
        value_name = "SOCKET",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "/dev/log"
    )]
    syslog: Option<PathBuf>,
    /// Write the packets of NFLOG rules to this file, for tcpdump and others, instead of their lines
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Of NFLOG rules, only those with this group; no others
    #[arg(long, value_name = "N")]
    group: Option<u16>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let objects = arguments.selection.objects()?;
    let mut logs = Vec::new();
    for InForce { place, maps, .. } in objects {
        logs.extend(Log::open(maps)?.map(|log| (place, log)));
    }
    ensure!(
        !logs.is_empty(),
        "no rule in force logs anything: there is no LOG, NFLOG or TRACE among them"
    );
    let mut sink = Sink::open(arguments)?;
    loop {
        for (place, log) in &mut logs {
            let mut result = Ok(());
            let lost = log.read(|record, told| {
                result = sink.take(record, told);
                match result.is_err() || sink.left == Some(0) {
                    true => Enough::Yes,
                    false => Enough::No,
                }
            })?;
            if lost > 0 {
                anstream::eprintln!("ipt2bpf: {place}: {lost} records were lost");
            }
            result?;
            if sink.left == Some(0) {
                return Ok(());
            }
        }
        Ring::wait(logs.iter().map(|(_, log)| log.ring()), PATIENCE)?;
    }
}

/// Where lines and packets go.
struct Sink {
    syslog: Option<UnixDatagram>,
    pcap: Option<File>,
    group: Option<u16>,
    /// How many more are wanted.
    left: Option<u64>,
    names: LogNames,
}

impl Sink {
    fn open(arguments: &Arguments) -> Result<Self> {
        let syslog = arguments.syslog.as_ref().map(|path| {
            let socket = UnixDatagram::unbound()?;
            socket
                .connect(path)
                .with_context(|| path.display().to_string())?;
            anyhow::Ok(socket)
        });
        let pcap = arguments.pcap.as_ref().map(|path| {
            let mut file = File::create(path).with_context(|| path.display().to_string())?;
            file.write_all(&pcap::file_header())?;
            anyhow::Ok(file)
        });
        Ok(Sink {
            syslog: syslog.transpose()?,
            pcap: pcap.transpose()?,
            group: arguments.group,
            left: arguments.count,
            names: LogNames::new()?,
        })
    }

    fn take(&mut self, record: &Record, told: &Told) -> Result<()> {
        if self.group.is_some() && told.group != self.group {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        match (&mut self.pcap, told.group) {
            (Some(file), Some(_)) => {
                let time = since_epoch(record);
                file.write_all(&pcap::packet(time, &record.bytes, record.length))?;
            }
            _ => self.line(record, told)?,
        }
        Ok(())
    }

    fn line(&mut self, record: &Record, told: &Told) -> Result<()> {
        let Some(mut line) = self.names.line(record, told)? else {
            return Ok(());
        };
        match &self.syslog {
            Some(socket) => {
                let mut message = format!("<{}>ipt2bpf: ", KERNEL | told.level).into_bytes();
                message.append(&mut line);
                socket.send(&message).context("the system log")?;
            }
            None => {
                line.push(b'\n');
                let mut stdout = stdout().lock();
                stdout.write_all(&line)?;
                stdout.flush()?;
            }
        }
        Ok(())
    }
}
