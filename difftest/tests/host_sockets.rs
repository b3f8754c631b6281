//! `-m socket` against the kernel's: a host has sockets of all kinds, and frames to each of them, to others and
//! ICMP errors about them pass mangle's PREROUTING and the program at XDP.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::compare::Subject;
use ipt2bpf_difftest::frame::Frame;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{self, Route};
use ipt2bpf_difftest::subjects::program::Program;
use ipt2bpf_difftest::{netns, subjects, tool};
use ipt2bpf_parser::ruleset::Family;
use nix::sys::socket::{setsockopt, sockopt};

const INTERFACES: [&str; 2] = ["eth0", "eth1"];

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Lets nothing of what frames cause come about: the host sends nothing.
const SILENT: &str = "*mangle\n:PREROUTING ACCEPT\n:OUTPUT DROP\nCOMMIT\n";

/// The last rule keeps frames from the sockets.
const RULES: &str = "\
*mangle
:PREROUTING ACCEPT
:OUTPUT DROP
-A PREROUTING -m socket
-A PREROUTING -p tcp -m socket
-A PREROUTING -m socket --nowildcard
-A PREROUTING -m socket --restore-skmark
-A PREROUTING -m mark --mark 7
-A PREROUTING -m mark --mark 8
-A PREROUTING -m socket --nowildcard --restore-skmark
-A PREROUTING -m mark --mark 7
-A PREROUTING -m mark --mark 8
-A PREROUTING -j DROP
COMMIT
";

/// The host's address, another of its addresses, and two of others.
fn addresses(family: Family) -> [IpAddr; 4] {
    let addresses = match family {
        Family::V4 => ["10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2"],
        Family::V6 => ["fd00:1::1", "fd00:1::2", "fd00:2::1", "fd00:2::2"],
    };
    addresses.map(|it| it.parse().expect("an address"))
}

fn wildcard(family: Family) -> IpAddr {
    match family {
        Family::V4 => [0; 4].into(),
        Family::V6 => [0; 16].into(),
    }
}

/// Where frames go, and from where.
#[derive(Clone, Copy)]
struct Tuple {
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
}

/// Sockets that live as long as the value, and the ends of connections.
struct Sockets {
    _listeners: Vec<TcpListener>,
    _streams: Vec<TcpStream>,
    _datagrams: Vec<UdpSocket>,
    /// Source and destination of packets to an end of a connection.
    connected: Vec<Tuple>,
}

/// Both ends of a new connection.
fn connect(listener: &TcpListener, to: SocketAddr) -> Result<[TcpStream; 2]> {
    let client = TcpStream::connect(to)?;
    let (server, _) = listener.accept()?;
    Ok([client, server])
}

/// The packets that a stream receives.
fn of_stream(stream: &TcpStream) -> Result<Tuple> {
    Ok(Tuple {
        protocol: TCP,
        source: stream.peer_addr()?,
        destination: stream.local_addr()?,
    })
}

impl Sockets {
    fn open(family: Family) -> Result<Sockets> {
        let [host, _, other, _] = addresses(family);
        let any = wildcard(family);
        let listeners = vec![
            TcpListener::bind((host, 80))?,
            TcpListener::bind((any, 81))?,
            TcpListener::bind((host, 82))?,
        ];
        let datagrams = vec![
            UdpSocket::bind((host, 53))?,
            UdpSocket::bind((any, 54))?,
            UdpSocket::bind((host, 55))?,
            UdpSocket::bind((any, 56))?,
            UdpSocket::bind((host, 57))?,
            UdpSocket::bind((any, 58))?,
        ];
        datagrams[2].connect((other, 1000))?;
        datagrams[3].connect((other, 1000))?;
        setsockopt(&datagrams[4], sockopt::BindToDevice, &"eth1".into())?;
        for datagrams in [&datagrams[0], &datagrams[3], &datagrams[5]] {
            setsockopt(datagrams, sockopt::Mark, &7)?;
        }
        setsockopt(&listeners[0], sockopt::Mark, &7)?;
        setsockopt(&listeners[1], sockopt::Mark, &8)?;
        setsockopt(&listeners[2], sockopt::Mark, &7)?;
        let mut streams = Vec::new();
        for (listener, port) in listeners.iter().zip([80, 81, 82]) {
            streams.extend(connect(listener, (host, port).into())?);
        }
        setsockopt(&streams[0], sockopt::Mark, &8)?;
        let mut connected = streams.iter().map(of_stream).collect::<Result<Vec<_>>>()?;
        // The side that closes first waits.
        let [client, mut server] = connect(&listeners[2], (host, 82).into())?;
        connected.push(of_stream(&client)?);
        drop(client);
        ensure!(server.read(&mut [0])? == 0, "an end");
        drop(server);
        thread::sleep(Duration::from_millis(50));
        Ok(Sockets {
            _listeners: listeners,
            _streams: streams,
            _datagrams: datagrams,
            connected,
        })
    }
}

/// Puts an IP header in front.
fn packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [high, low] = (20 + payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x45, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            let sum = checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes
        }
        (source, destination) => {
            let [high, low] = (payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x60, 0, 0, 0, high, low, protocol, 64];
            for address in [source, destination] {
                if let IpAddr::V6(address) = address {
                    bytes.extend(address.octets());
                }
            }
            bytes
        }
    };
    bytes.extend(payload);
    bytes
}

impl Tuple {
    fn segment(&self) -> Vec<u8> {
        let mut bytes = [self.source.port(), self.destination.port()]
            .map(u16::to_be_bytes)
            .concat();
        match self.protocol {
            // A segment that opens a connection.
            TCP => bytes.extend([0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]),
            _ => bytes.extend([0, 8, 0, 0]),
        }
        bytes
    }

    fn packet(&self) -> Vec<u8> {
        let (source, destination) = (self.source.ip(), self.destination.ip());
        packet(source, destination, self.protocol, &self.segment())
    }

    /// The same, with a checksum that sockets take.
    fn checked_packet(&self) -> Vec<u8> {
        let (source, destination) = (self.source.ip(), self.destination.ip());
        let mut segment = self.segment();
        let mut covered = Vec::new();
        for address in [source, destination] {
            match address {
                IpAddr::V4(address) => covered.extend(address.octets()),
                IpAddr::V6(address) => covered.extend(address.octets()),
            }
        }
        covered.extend([0, self.protocol, 0, segment.len() as u8]);
        covered.extend(&segment);
        segment[16..18].copy_from_slice(&checksum(&covered).to_be_bytes());
        packet(source, destination, self.protocol, &segment)
    }

    fn turned(&self) -> Tuple {
        Tuple {
            source: self.destination,
            destination: self.source,
            ..*self
        }
    }

    /// Packets to the destination: whole and cut off, and errors about what it has sent.
    fn packets(&self) -> Vec<Vec<u8>> {
        let (source, destination) = (self.source.ip(), self.destination.ip());
        let segment = self.segment();
        let mut packets = vec![self.packet()];
        for protocol in [self.protocol, 132] {
            let cut = &segment[..segment.len() - 1];
            packets.push(packet(source, destination, protocol, cut));
        }
        let quoted = self.turned().packet();
        let is_v4 = source.is_ipv4();
        let (icmp, kinds): (u8, &[u8]) = match is_v4 {
            true => (1, &[3, 4, 5, 8, 11, 12, 13]),
            false => (58, &[1, 2, 3, 4, 127, 128]),
        };
        let error = |kind: u8, quoted: &[u8]| {
            let payload = [&[kind, 0, 0, 0, 0, 0, 0, 0], quoted].concat();
            packet(source, destination, icmp, &payload)
        };
        packets.extend(kinds.iter().map(|&kind| error(kind, &quoted)));
        let header = if is_v4 { 20 } else { 40 };
        for length in [0, header - 1, header, header + 3, header + 4] {
            packets.push(error(3, &quoted[..length]));
        }
        let turned = self.turned().segment();
        if is_v4 {
            // With an IP option in the packet inside.
            let mut quoted = quoted;
            quoted[0] = 0x46;
            quoted.splice(20..20, [1; 4]);
            packets.push(error(11, &quoted));
            return packets;
        }
        let next = self.protocol;
        let headers: [(u8, Vec<u8>); 6] = [
            (0, vec![next, 0, 1, 4, 0, 0, 0, 0]),
            (44, vec![next, 0, 0, 1, 0, 0, 0, 5]),
            (44, vec![next, 0, 0, 9, 0, 0, 0, 5]),
            (51, [vec![next, 1], vec![0; 10]].concat()),
            (60, vec![60, 0, 1, 4, 0, 0, 0, 0, next, 0, 1, 4, 0, 0, 0, 0]),
            (59, vec![next, 0, 1, 4, 0, 0, 0, 0]),
        ];
        for (first, header) in headers {
            let quoted = packet(destination, source, first, &[&header[..], &turned].concat());
            packets.push(error(4, &quoted));
        }
        let options = [&[next, 0, 1, 4, 0, 0, 0, 0], &segment[..]].concat();
        packets.push(packet(source, destination, 60, &options));
        packets
    }
}

fn tuples(family: Family) -> Vec<Tuple> {
    let [host, second, other, another] = addresses(family);
    let mut tuples = Vec::new();
    for (protocol, ports) in [(TCP, 79..=83), (UDP, 52..=59)] {
        for port in ports {
            for destination in [host, second] {
                for source in [(other, 1000), (another, 1000), (other, 1001)] {
                    tuples.push(Tuple {
                        protocol,
                        source: source.into(),
                        destination: (destination, port).into(),
                    });
                }
            }
        }
    }
    tuples
}

/// Connections that a peer has begun: one to a listener with an address, and one to the wildcard.
fn begun(family: Family) -> [Tuple; 2] {
    let [host, _, other, _] = addresses(family);
    [81, 82].map(|port| Tuple {
        protocol: TCP,
        source: (other, 1000).into(),
        destination: (host, port).into(),
    })
}

/// Gives how many packets each rule has counted.
fn compare(family: Family) -> Result<Vec<u64>> {
    let interfaces = INTERFACES.map(String::from);
    let host = Host::new(&interfaces, &Routing::AllLocal)?;
    // The host prefers the address for what it sends to itself.
    let own = addresses(family)[0].to_string();
    tool::run("ip", &["addr", "add", &own, "dev", "lo"], "")?;
    let sockets = Sockets::open(family)?;
    netfilter::load(family, SILENT)?;
    for tuple in begun(family) {
        host.inject(&Frame::received(family, "eth0", &tuple.checked_packet()))?;
    }
    let listed = tool::run("ss", &["-Htan"], "")?;
    ensure!(
        listed.contains("TIME-WAIT") && listed.matches("SYN-RECV").count() == 2,
        "{listed}"
    );
    let ruleset = subjects::ruleset(family, RULES)?;
    let mut program = Program::new(&ruleset, Hook::Xdp, &Sets::default())?;
    netfilter::load(family, RULES)?;
    let mut last = Vec::new();
    for tuple in tuples(family).iter().chain(&sockets.connected) {
        for interface in INTERFACES {
            for bytes in tuple.packets() {
                let frame = Frame::received(family, interface, &bytes);
                host.inject(&frame)?;
                program.verdict(&frame, &Route::Refused)?;
            }
        }
        let ours = program.counters()?;
        last.clear();
        for theirs in netfilter::counters(family)? {
            if theirs.text.starts_with(':') {
                continue;
            }
            let ours = ours.get(&theirs.key).context("a counter of ours")?;
            ensure!(
                *ours == theirs.counters,
                "the program counts {ours:?}, netfilter {:?} at {} behind {:?} to {:?}",
                theirs.counters,
                theirs.text,
                tuple.source,
                tuple.destination,
            );
            last.push(ours.packets);
        }
    }
    Ok(last)
}

#[test]
fn packets_have_the_sockets_that_the_kernel_finds() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    for family in [Family::V4, Family::V6] {
        let counted =
            netns::isolated(|| compare(family)).unwrap_or_else(|error| panic!("{error:#}"));
        let all = counted[counted.len() - 1];
        assert!(counted.iter().all(|it| *it > 0), "{counted:?}");
        assert!(
            counted[0] < counted[2] && counted[2] < all,
            "only the wildcard makes a difference: {counted:?}"
        );
    }
}
