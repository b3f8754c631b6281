//! `conntrack`: the connections that programs track, as conntrack(8) shows the kernel's.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use ipt2bpf_codegen::track::tuple::{Tuple, icmp_of};
use ipt2bpf_codegen::track::{Flow, Key, status};
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::{Maps, Registry, TableStatistics, TrackedConnection};

use crate::cli::Place;
use crate::messages::Reporter;
use crate::{attachments, output};

/// How often the table is looked at by those who follow it.
const INTERVAL: Duration = Duration::from_millis(500);

/// Lists, counts, deletes or follows the connections that attached programs track, or tells what became of them
///
/// Each is a line as conntrack prints it: protocol, its number, seconds until the connection is forgotten,
/// the state of TCP, the two directions with their counts, and the mark.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// List connections, which is what is done when nothing else is asked for
    #[arg(short = 'L', long, group = "action")]
    list: bool,
    /// Print how many there are
    #[arg(short = 'C', long, group = "action")]
    count: bool,
    /// Forget connections: their next packets begin new ones, if they may
    #[arg(short = 'D', long, group = "action")]
    delete: bool,
    /// Print connections that come, change or go, looking twice a second
    #[arg(short = 'E', long, group = "action")]
    event: bool,
    /// Print how many have come, and how many made way for others
    #[arg(short = 'S', long, group = "action")]
    stats: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// Which connections.
#[derive(Debug, Args)]
struct Wanted {
    /// Only those of this protocol: tcp, udp, icmp or another name, or its number
    #[arg(short, long = "proto", value_name = "PROTO", value_parser = protocol)]
    protocol: Option<u8>,
    /// Only those that this address has opened
    #[arg(short, long = "orig-src", alias = "src", value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Only those opened to this address
    #[arg(short, long = "orig-dst", alias = "dst", value_name = "ADDRESS")]
    destination: Option<IpAddr>,
    /// Only those opened from this port
    #[arg(long, alias = "orig-port-src", value_name = "PORT")]
    sport: Option<u16>,
    /// Only those opened to this port
    #[arg(long, alias = "orig-port-dst", value_name = "PORT")]
    dport: Option<u16>,
    /// Only those with this mark
    #[arg(short, long, value_name = "MARK", value_parser = mark)]
    mark: Option<u32>,
}

/// The names that conntrack(8) uses.
const PROTOCOLS: [(&str, u8); 9] = [
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("icmpv6", 58),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("sctp", 132),
    ("udplite", 136),
];

/// The states of TCP by their numbers.
const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// The states of SCTP by their numbers.
const SCTP_STATES: [&str; 9] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
];

fn protocol(text: &str) -> Result<u8, String> {
    let known = PROTOCOLS.iter().find(|row| row.0 == text);
    match known {
        Some(&(_, number)) => Ok(number),
        None => text.parse().map_err(|_| "no such protocol".to_owned()),
    }
}

/// Decimal, or hexadecimal behind `0x`.
fn mark(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "a mark is a number of 32 bits".to_owned())
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let tables = tables(&arguments.place)?;
    if arguments.event {
        return follow(&tables, &arguments.wanted);
    }
    if arguments.stats {
        let lines = tables.iter().map(statistics).collect::<Result<String>>()?;
        return output::print(lines.as_bytes());
    }
    let mut text = String::new();
    let mut number = 0;
    for table in &tables {
        for connection in arguments.wanted.of(table)? {
            if arguments.delete {
                table.forget_connection(&connection.key)?;
            }
            if !arguments.count {
                text += &line(&connection);
                text.push('\n');
            }
            number += 1;
        }
    }
    if arguments.count {
        return output::print(format!("{number}\n").as_bytes());
    }
    output::print(text.as_bytes())?;
    let done = if arguments.delete { "deleted" } else { "shown" };
    reporter.note(&format!("{number} flow entries have been {done}"));
    Ok(())
}

/// A table's numbers, as far as conntrack(8) has them under its names.
fn statistics(table: &Maps) -> Result<String> {
    let TableStatistics {
        room,
        inserted,
        insert_failed,
        expired,
        early_dropped,
    } = table.table_statistics()?;
    let entries = table.connections()?.len();
    Ok(format!(
        "entries={entries} max={room} insert={inserted} insert_failed={insert_failed} expired={expired} \
         early_drop={early_dropped}\n"
    ))
}

/// The tables of a place, or of the only one; programs of one object share theirs.
fn tables(place: &Place) -> Result<Vec<Maps>> {
    let registry = Registry::find()?;
    let chosen = place.cgroup.is_some() || !place.xdp.is_empty();
    let attached = match chosen {
        true => attachments::at(place, &registry)?,
        false => attachments::only(&registry)?,
    };
    let mut tables: Vec<Maps> = Vec::new();
    for attachment in attached.iter().filter(|attachment| attachment.alive) {
        let maps = attachment.maps()?;
        if maps.tracks_connections() && !tables.iter().any(|known| known.same_as(&maps)) {
            tables.push(maps);
        }
    }
    if tables.is_empty() {
        bail!("no rule there asks for connections, so none are tracked");
    }
    Ok(tables)
}

impl Wanted {
    /// What a table has of them, in the order of their keys.
    fn of(&self, table: &Maps) -> Result<Vec<TrackedConnection>> {
        let mut connections = table.connections()?;
        connections.retain(|connection| self.holds(connection));
        connections.sort_by_key(|connection| connection.key.0);
        Ok(connections)
    }

    fn holds(&self, connection: &TrackedConnection) -> bool {
        let TrackedConnection { key, flow, .. } = connection;
        let [original, _] = key.tuples(!flow.backwards);
        let family = key.family();
        let is =
            |wanted: Option<IpAddr>, bytes| wanted.is_none_or(|it| it == address(family, bytes));
        let same = |wanted: Option<u16>, port| wanted.is_none_or(|it| it == port);
        self.protocol.is_none_or(|it| it == key.protocol())
            && is(self.source, original.source)
            && is(self.destination, original.destination)
            && same(self.sport, original.source_port)
            && same(self.dport, original.destination_port)
            && self.mark.is_none_or(|it| it == flow.mark)
    }
}

/// Prints what changes until it is interrupted.
fn follow(tables: &[Maps], wanted: &Wanted) -> Result<()> {
    let look = || -> Result<HashMap<Key, TrackedConnection>> {
        let mut found = HashMap::new();
        for table in tables {
            found.extend(wanted.of(table)?.into_iter().map(|it| (it.key, it)));
        }
        Ok(found)
    };
    let mut before = look()?;
    loop {
        thread::sleep(INTERVAL);
        let now = look()?;
        let mut text = String::new();
        for (key, connection) in &now {
            let event = match before.get(key) {
                None => "NEW",
                Some(old) if state(&old.flow) != state(&connection.flow) => "UPDATE",
                Some(_) => continue,
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>10} {}", format!("[{event}]"), line(connection));
        }
        for (key, connection) in &before {
            if !now.contains_key(key) {
                let _ = writeln!(text, "{:>10} {}", "[DESTROY]", line(connection));
            }
        }
        output::print(text.as_bytes())?;
        before = now;
    }
}

/// What makes an event when it changes.
fn state(flow: &Flow) -> (u8, u8, u8, u32) {
    (flow.tcp.state, flow.sctp.state, flow.status, flow.mark)
}

/// A connection as conntrack(8) prints it.
fn line(connection: &TrackedConnection) -> String {
    let TrackedConnection {
        key,
        flow,
        seconds_left,
    } = connection;
    let number = key.protocol();
    let known = PROTOCOLS.iter().find(|row| row.1 == number);
    let name = known.map_or("unknown", |row| row.0);
    let mut line = format!("{name:8} {number} {seconds_left} ");
    let state = match number {
        6 => Some(TCP_STATES.get(usize::from(flow.tcp.state))),
        132 => Some(SCTP_STATES.get(usize::from(flow.sctp.state))),
        _ => None,
    };
    if let Some(state) = state {
        line += state.unwrap_or(&"NONE");
        line.push(' ');
    }
    for (direction, tuple) in key.tuples(!flow.backwards).iter().enumerate() {
        line += &ends(key, tuple);
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "packets={} bytes={} ",
            flow.packets[direction], flow.bytes[direction]
        );
        if direction == 0 && flow.status & status::SEEN_REPLY == 0 {
            line += "[UNREPLIED] ";
        }
    }
    if flow.status & status::ASSURED != 0 {
        line += "[ASSURED] ";
    }
    let _ = write!(line, "mark={} use=1", flow.mark);
    line
}

fn ends(key: &Key, tuple: &Tuple) -> String {
    let family = key.family();
    let source = address(family, tuple.source);
    let destination = address(family, tuple.destination);
    let addresses = format!("src={source} dst={destination} ");
    let (from, to) = (tuple.source_port, tuple.destination_port);
    addresses
        + &match key.protocol() {
            6 | 17 | 132 | 136 => format!("sport={from} dport={to} "),
            47 => format!("srckey={from:#x} dstkey={to:#x} "),
            it if it == icmp_of(family) => {
                let [kind, code] = to.to_be_bytes();
                format!("type={kind} code={code} id={from} ")
            }
            _ => String::new(),
        }
}

fn address(family: Family, bytes: [u8; 16]) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        Family::V6 => Ipv6Addr::from(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_a_line_as_conntrack_prints_it() {
        let end = |text: &str, port| (text.parse().unwrap(), port);
        let (key, forward) = Key::between(6, end("10.0.0.2", 33000), end("10.0.0.1", 22)).unwrap();
        let mut connection = TrackedConnection {
            key,
            flow: Flow {
                backwards: !forward,
                packets: [3, 2],
                bytes: [180, 120],
                mark: 7,
                status: status::SEEN_REPLY | status::ASSURED,
                ..Flow::default()
            },
            seconds_left: 431_999,
        };
        connection.flow.tcp.state = 3;
        assert_eq!(
            line(&connection),
            "tcp      6 431999 ESTABLISHED src=10.0.0.2 dst=10.0.0.1 sport=33000 dport=22 packets=3 bytes=180 \
             src=10.0.0.1 dst=10.0.0.2 sport=22 dport=33000 packets=2 bytes=120 [ASSURED] mark=7 use=1"
        );
        let (key, forward) = Key::between(132, end("10.0.0.2", 5), end("10.0.0.1", 7)).unwrap();
        connection.key = key;
        connection.flow.backwards = !forward;
        connection.flow.sctp.state = 4;
        connection.seconds_left = 209;
        assert!(line(&connection).starts_with("sctp     132 209 ESTABLISHED src=10.0.0.2 "));
        let (key, forward) = Key::between(17, end("::1", 5), end("::2", 53)).unwrap();
        let unreplied = TrackedConnection {
            key,
            flow: Flow {
                backwards: !forward,
                packets: [1, 0],
                bytes: [60, 0],
                ..Flow::default()
            },
            seconds_left: 29,
        };
        assert_eq!(
            line(&unreplied),
            "udp      17 29 src=::1 dst=::2 sport=5 dport=53 packets=1 bytes=60 [UNREPLIED] \
             src=::2 dst=::1 sport=53 dport=5 packets=0 bytes=0 mark=0 use=1"
        );
    }
}
