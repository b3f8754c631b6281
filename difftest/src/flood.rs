//! A flood of new connections against a table, and what becomes of those that it had: SYNs of as many
//! sources as wanted, each answered, run through programs with `BPF_PROG_TEST_RUN`.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::{Loaded, TableStatistics, TestPacket, kernel, load};

use crate::checksum::checksum;
use crate::frame::Frame;
use crate::subjects;

/// Answers, and whoever opens port 80.
const RULES: &str = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
    -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
    -A INPUT -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n";

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The clients' network, and the sources' of the flood.
const CLIENTS: u32 = 0x0a00_0000;
const FLOODERS: u32 = 0x1400_0000;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What a flood did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Connections before the flood.
    pub established: u32,
    /// Those of them whose packets are accepted as before.
    pub survivors: u32,
    /// SYNs.
    pub sources: u32,
    /// Connections in the table at the end.
    pub entries: usize,
    /// What the table counted.
    pub statistics: TableStatistics,
    /// How long a SYN and its answer took, system calls included.
    pub each: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TableStatistics {
            room,
            inserted,
            insert_failed,
            expired,
            early_dropped,
        } = self.statistics;
        write!(
            f,
            "{} of {} connections survive {} others in a table of {room}: it has {} entries after {inserted} \
             were inserted, {early_dropped} dropped early, {expired} expired, {insert_failed} failed; {:?} each",
            self.survivors, self.established, self.sources, self.entries, self.each
        )
    }
}

/// Floods a table that has room for so many connections and holds some.
///
/// # Errors
/// When the kernel refuses the programs or the packets.
pub fn run(room: u32, established: u32, sources: u32) -> Result<Report> {
    let ruleset = subjects::ruleset(Family::V4, RULES)?;
    let options = Options {
        hooks: vec![Hook::CgroupIngress, Hook::CgroupEgress],
        connections: room,
        tick_rate: kernel::tick_rate(),
        ..Options::default()
    };
    let compiled = compile(&[ruleset], &options).map_err(|said| anyhow!("{said:?}"))?;
    let programs = load(&compiled.object).context("the kernel refuses the programs")?;
    let clients = (0..established).map(|number| Ipv4Addr::from(CLIENTS + number));
    for client in clients.clone() {
        for (arrives, flags, sequence, ack) in [
            (true, SYN, 1, 0),
            (false, SYN | ACK, 1000, 2),
            (true, ACK, 2, 1001),
        ] {
            if !passes(&programs, arrives, client, flags, sequence, ack)? {
                bail!("a handshake does not pass");
            }
        }
    }
    let start = Instant::now();
    for number in 0..sources {
        let source = Ipv4Addr::from(FLOODERS + number);
        passes(&programs, true, source, SYN, 1, 0)?;
        passes(&programs, false, source, SYN | ACK, 1000, 2)?;
    }
    let each = start.elapsed() / sources.max(1);
    let mut survivors = 0;
    for client in clients {
        // Accepted only as part of a connection: alone, it begins none.
        let lives = passes(&programs, true, client, ACK | FIN, 2, 1001)?;
        survivors += u32::from(lives);
    }
    let maps = programs.maps();
    Ok(Report {
        established,
        survivors,
        sources,
        entries: maps.connections()?.len(),
        statistics: maps.table_statistics()?,
        each,
    })
}

/// Runs a segment between a client and port 80 of the server.
fn passes(
    programs: &Loaded,
    arrives: bool,
    client: Ipv4Addr,
    flags: u8,
    sequence: u32,
    ack: u32,
) -> Result<bool> {
    let (hook, ends, ports) = match arrives {
        true => (Hook::CgroupIngress, [client, SERVER], [40_000u16, 80]),
        false => (Hook::CgroupEgress, [SERVER, client], [80, 40_000]),
    };
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    packet.extend(ends.map(|end| end.octets()).concat());
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(ports.map(u16::to_be_bytes).concat());
    packet.extend(sequence.to_be_bytes());
    packet.extend(ack.to_be_bytes());
    packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let frame = Frame::received(Family::V4, "", &packet);
    let run = programs.test_run(
        hook,
        &TestPacket {
            frame: &frame.bytes,
            ifindex: None,
            repeat: 1,
        },
    )?;
    Ok(run.retval == 1)
}
