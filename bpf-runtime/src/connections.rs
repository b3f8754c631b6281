//! The connections that the system has when a table of ours begins: what the kernel's own tracking knows,
//! where it runs, and the connected sockets. They are entered so that nothing established is cut.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipt2bpf_codegen::choices;
use ipt2bpf_codegen::track::tcp::{Connection, Index, State, flags};
use ipt2bpf_codegen::track::timeouts::Timeouts;
use ipt2bpf_codegen::track::value::End;
use ipt2bpf_codegen::track::{Flow, Key, Side, status};

use crate::error::Error;
use crate::kernel;
use crate::maps::Maps;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of the calling thread's network namespace.
const NET: &str = "/proc/thread-self/net";

/// A connection of which both sides have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    protocol: u8,
    opener: End,
    other: End,
    mark: u32,
    /// Seconds that the kernel will remember it, where it does.
    seconds: Option<u32>,
}

impl Maps {
    /// Enters the TCP and UDP connections that the network namespace of the calling thread has, and gives
    /// their number. Nothing is done where nothing is tracked, or where the table is not empty.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn seed_connections(&self) -> Result<usize, Error> {
        if !self.tracks_connections() || !self.connections()?.is_empty() {
            return Ok(0);
        }
        let read = |name: &str| fs::read_to_string(format!("{NET}/{name}")).unwrap_or_default();
        let mut known = sockets(TCP, &(read("tcp") + &read("tcp6")));
        known.extend(sockets(UDP, &(read("udp") + &read("udp6"))));
        // The kernel's table knows more, and so has the last word.
        known.extend(tracked(&read("nf_conntrack")));
        let (now, rate) = (kernel::jiffies(), kernel::tick_rate());
        let timeouts = choices::of_text(&self.rules_text()?).timeouts;
        let mut entered = 0;
        for it in known {
            if let Some((key, flow)) = it.flow(now, rate, &timeouts) {
                self.remember_connection(&key, &flow)?;
                entered += 1;
            }
        }
        Ok(entered)
    }
}

impl Known {
    /// Its entry. The windows of a TCP connection are not known, and so are not looked at.
    fn flow(&self, now: u32, rate: u32, timeouts: &Timeouts) -> Option<(Key, Flow)> {
        let (key, forward) = Key::between(self.protocol, self.opener, self.other)?;
        let side = Side {
            flags: flags::SACK_PERMITTED | flags::BE_LIBERAL,
            ..Side::default()
        };
        let (tcp, seconds) = match self.protocol {
            TCP => (
                Connection {
                    state: State::Established as u8,
                    sides: [side; 2],
                    last_index: Index::None as u8,
                    // Not that of a side that takes nothing more.
                    last_window: 1,
                    ..Connection::default()
                },
                timeouts.tcp[State::Established as usize],
            ),
            _ => (Connection::default(), timeouts.udp_stream),
        };
        let seconds = self.seconds.unwrap_or(seconds);
        let flow = Flow {
            expires: now.wrapping_add(seconds.wrapping_mul(rate)),
            mark: self.mark,
            backwards: !forward,
            status: status::SEEN_REPLY | status::ASSURED | status::CONFIRMED,
            tcp,
            stream_from: now,
            ..Flow::default()
        };
        Some((key, flow))
    }
}

/// The connected sockets of /proc/net/tcp and its like (Documentation/networking/proc_net_tcp.rst).
fn sockets(protocol: u8, text: &str) -> Vec<Known> {
    /// `TCP_ESTABLISHED` and `TCP_LISTEN` of include/net/tcp_states.h; UDP has them too.
    const ESTABLISHED: &str = "01";
    const LISTEN: &str = "0A";
    let rows: Vec<(End, End, &str)> = text.lines().filter_map(socket).collect();
    let listening = |port: u16| {
        let mut rows = rows.iter();
        rows.any(|(local, _, state)| *state == LISTEN && local.1 == port)
    };
    let connected = rows.iter().filter(|(_, _, state)| *state == ESTABLISHED);
    connected
        .map(|&(local, remote, _)| {
            let (opener, other) = match listening(local.1) {
                true => (remote, local),
                false => (local, remote),
            };
            Known {
                protocol,
                opener,
                other,
                mark: 0,
                seconds: None,
            }
        })
        .collect()
}

/// `sl: LOCAL:PORT REMOTE:PORT STATE ...`, in hexadecimal digits.
fn socket(line: &str) -> Option<(End, End, &str)> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote) = (end(words.next()?)?, end(words.next()?)?);
    Some((local, remote, words.next()?))
}

/// An address in words of the machine's byte order, and a port.
fn end(text: &str) -> Option<End> {
    let (address, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = (0..address.len())
        .step_by(8)
        .map(|at| u32::from_str_radix(address.get(at..at + 8)?, 16).ok())
        .map(|word| word.map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    let bytes = words.concat();
    let address = match *bytes.as_slice() {
        [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        // IPv4 in a socket of IPv6 is IPv4 on the wire.
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

/// The answered connections of /proc/net/nf_conntrack (`ct_seq_show`,
/// net/netfilter/nf_conntrack_standalone.c), as far as they are TCP's that are established and UDP's.
/// Translated ones are left out: our programs see one side of them under other names.
fn tracked(text: &str) -> Vec<Known> {
    text.lines().filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Known> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let protocol: u8 = words.get(3)?.parse().ok()?;
    let seconds = words.get(4)?.parse().ok()?;
    let wanted = match protocol {
        TCP => words.get(5) == Some(&"ESTABLISHED"),
        UDP => true,
        _ => false,
    };
    if !wanted || words.contains(&"[UNREPLIED]") {
        return None;
    }
    let all = |name: &str| -> Vec<&str> {
        let pairs = words.iter().filter_map(|word| word.split_once('='));
        pairs.filter(|it| it.0 == name).map(|it| it.1).collect()
    };
    let (sources, destinations) = (all("src"), all("dst"));
    let (from, to) = (all("sport"), all("dport"));
    let end = |address: &str, port: &str| -> Option<End> {
        Some((address.parse().ok()?, port.parse().ok()?))
    };
    let opener = end(sources.first()?, from.first()?)?;
    let other = end(destinations.first()?, to.first()?)?;
    let replies = (
        end(sources.get(1)?, from.get(1)?)?,
        end(destinations.get(1)?, to.get(1)?)?,
    );
    if replies != (other, opener) {
        return None;
    }
    let mark = all("mark").first().and_then(|mark| mark.parse().ok());
    Some(Known {
        protocol,
        opener,
        other,
        mark: mark.unwrap_or(0),
        seconds: Some(seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(text: &str) -> End {
        let address: std::net::SocketAddr = text.parse().unwrap();
        (address.ip(), address.port())
    }

    #[test]
    fn sockets_are_opened_by_the_side_that_does_not_listen() {
        let [one, two] = ["0100007F", "0200000A"].map(|it| {
            let word = u32::from_str_radix(it, 16).unwrap().to_le();
            format!("{word:08X}")
        });
        let text = format!(
            "  sl  local_address rem_address   st\n   0: {one}:0016 00000000:0000 0A 0\n\
             1: {one}:0016 {two}:80E8 01 0\n   2: {one}:9C40 {two}:0050 01 0\n"
        );
        let known = sockets(TCP, &text);
        let ends: Vec<(End, End)> = known.iter().map(|it| (it.opener, it.other)).collect();
        let server = (end_of("10.0.0.2:33000"), end_of("127.0.0.1:22"));
        let client = (end_of("127.0.0.1:40000"), end_of("10.0.0.2:80"));
        assert_eq!(ends, [server, client]);
    }

    #[test]
    fn the_kernels_entries_are_read() {
        let text = "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=5 dport=22 \
                    packets=1 bytes=2 src=10.0.0.2 dst=10.0.0.1 sport=22 dport=5 [ASSURED] mark=7 zone=0 use=2\n\
                    ipv4     2 udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=53 [UNREPLIED] \
                    src=10.0.0.2 dst=10.0.0.1 sport=53 dport=5 mark=0 use=2\n\
                    ipv4     2 tcp      6 9 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=5 dport=22 \
                    src=10.0.0.9 dst=10.0.0.1 sport=22 dport=5 [ASSURED] mark=0 use=2\n";
        let expected = Known {
            protocol: TCP,
            opener: end_of("10.0.0.1:5"),
            other: end_of("10.0.0.2:22"),
            mark: 7,
            seconds: Some(431_999),
        };
        assert_eq!(tracked(text), [expected]);
    }
}
