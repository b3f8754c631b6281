//! `log`: what rules tell of packets, as the kernel's log would say it.

use std::fs::File;
use std::io::{Write, stdout};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use ipt2bpf_codegen::log::book::{Book, Told};
use ipt2bpf_codegen::log::line::{LinkHeader, Sight, line};
use ipt2bpf_codegen::log::pcap;
use ipt2bpf_codegen::log::record::Record;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};
use ipt2bpf_runtime::{
    Enough, Interface, LinkLayer, Maps, Ring, interfaces, link_layer, since_epoch,
};

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
    /// Stop after so many packets
    #[arg(long, value_name = "N")]
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
    let mut sources = Vec::new();
    for InForce { place, maps } in objects {
        sources.extend(Source::open(place, maps)?);
    }
    ensure!(
        !sources.is_empty(),
        "no rule in force logs anything: there is no LOG, NFLOG or TRACE among them"
    );
    let mut sink = Sink::open(arguments)?;
    loop {
        for source in &mut sources {
            source.read(&mut sink)?;
            if sink.left == Some(0) {
                return Ok(());
            }
        }
        Ring::wait(sources.iter().map(|source| &source.ring), PATIENCE)?;
    }
}

/// The ring of one object.
struct Source {
    place: String,
    maps: Maps,
    ring: Ring,
    book: Book,
    /// How many lost records were spoken of.
    lost: u64,
}

impl Source {
    /// None when no rule of the object tells anything.
    fn open(place: String, maps: Maps) -> Result<Option<Self>> {
        let ring = match maps.ring() {
            Ok(ring) => ring,
            Err(ipt2bpf_runtime::Error::NoMap { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut sources = Sources::default();
        let id = sources.add("rules", maps.rules_text()?);
        let rulesets = parse(&sources, id, &ParseOptions::default()).rulesets;
        Ok(Some(Source {
            place,
            maps,
            ring,
            book: Book::new(&rulesets),
            lost: 0,
        }))
    }

    /// Hands on what is there.
    fn read(&mut self, sink: &mut Sink) -> Result<()> {
        let mut result = Ok(());
        self.ring.read(|bytes| {
            let record = Record::read(bytes);
            // Of a program that the text does not belong to, nothing can be said.
            if let Some(record) = record
                && let Some(told) = self.book.told(&record)
            {
                result = sink.take(&record, &told);
            }
            match result.is_err() || sink.left == Some(0) {
                true => Enough::Yes,
                false => Enough::No,
            }
        });
        let lost = self.maps.lost_records()?;
        if lost > self.lost {
            let more = lost - self.lost;
            anstream::eprintln!("ipt2bpf: {}: {more} records were lost", self.place);
            self.lost = lost;
        }
        result
    }
}

/// Where lines and packets go.
struct Sink {
    syslog: Option<UnixDatagram>,
    pcap: Option<File>,
    group: Option<u16>,
    /// How many more are wanted.
    left: Option<u64>,
    interfaces: Vec<Interface>,
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
            interfaces: interfaces()?,
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
        let Some(family) = record.family() else {
            return Ok(());
        };
        let in_device = self.name(record.in_index, &record.in_name)?;
        let out_device = self.name(record.out_index, &record.out_name)?;
        let link = match (record.link_header, link_layer(&in_device)) {
            (Some(header), Some(LinkLayer::Ethernet)) => LinkHeader::Ethernet(header),
            (Some(header), Some(LinkLayer::Loopback)) => LinkHeader::Plain(header),
            _ => LinkHeader::None,
        };
        let sight = Sight {
            family,
            bytes: &record.bytes,
            length: record.length,
            in_device: &in_device,
            out_device: &out_device,
            link,
            mark: record.mark,
            owner: None,
        };
        let mut line = line(&told.prefix, &sight, told.details);
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

    /// The name of an interface: the program's where it knows it, else that of this namespace.
    fn name(&mut self, index: u32, known: &str) -> Result<String> {
        if index == 0 || !known.is_empty() {
            return Ok(known.to_owned());
        }
        let find = |interfaces: &[Interface]| {
            let found = interfaces.iter().find(|interface| interface.index == index);
            found.map(|interface| interface.name.clone())
        };
        if let Some(name) = find(&self.interfaces) {
            return Ok(name);
        }
        self.interfaces = interfaces()?;
        Ok(find(&self.interfaces).unwrap_or_else(|| format!("if{index}")))
    }
}
