//! The kernel's connections as programs at both hooks of a cgroup read them, by real traffic between two
//! network namespaces: each packet of a socket meets netfilter's INPUT or OUTPUT and the same rules in the
//! program, and both count.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{ConnectionTable, DeviceNames, Options};
use ipt2bpf_difftest::{netfilter, netns, subjects, tool};
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::{Loaded, Registry, kernel, load};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// What both count. ICMP aside, only packets of the sockets under test have these protocols.
const RULES: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:states - [0:0]
:given - [0:0]
-A INPUT -p tcp -j states
-A INPUT -p udp -j states
-A INPUT -p ICMP -m ICMPTYPE ANSWER -j states
-A INPUT -p ICMP -m ICMPTYPE ERROR -j states
-A INPUT -p tcp -j given
-A INPUT -p udp -j given
-A OUTPUT -p tcp -j states
-A OUTPUT -p udp -j states
-A OUTPUT -p ICMP -m ICMPTYPE ASK -j states
-A states -m conntrack --ctstate INVALID
-A states -m conntrack --ctstate NEW
-A states -m conntrack --ctstate ESTABLISHED
-A states -m conntrack --ctstate RELATED
-A states -m conntrack --ctstate UNTRACKED
-A states -m state --state NEW,RELATED
-A states -m conntrack ! --ctstate INVALID --ctdir REPLY
-A states -m conntrack --ctdir ORIGINAL
-A states -m conntrack --ctstatus SEEN_REPLY
-A states -m conntrack ! --ctstatus ASSURED
-A states -m conntrack --ctproto 6
-A states -m conntrack ! --ctproto 17
-A states -m conntrack --ctorigsrc THERE --ctorigdst HERE
-A states -m conntrack --ctreplsrc THERE
-A states -m conntrack ! --ctrepldst HERE
-A states -m conntrack --ctorigdstport 7003
-A states -m conntrack --ctreplsrcport 7001 --ctorigdstport 7003
-A states -m conntrack --ctrepldstport 7004:65535
-A states -m conntrack --ctorigsrcport 1:4000
-A states -m connmark --mark 0x5
-A states -m connmark ! --mark 0x0/0x1
-A given -m conntrack --ctstatus CONFIRMED
-A given -m conntrack --ctexpire 0
-A given -m conntrack --ctexpire 20:40
-A given -m conntrack ! --ctexpire 0:500
COMMIT
";

/// What only netfilter does: marks, and a port that is translated.
const BESIDE: &str = "\
*mangle
-A PREROUTING -p udp -m udp --dport 7001 -j CONNMARK --set-xmark 0x5/0xffffffff
-A OUTPUT -p tcp -m tcp --dport 7002 -j CONNMARK --set-xmark 0x6/0xffffffff
COMMIT
*nat
-A PREROUTING -p udp -m udp --dport 7003 -j REDIRECT --to-ports 7001
COMMIT
";

/// What both sides have.
const COMMON: &str = r#"
import os, signal, socket, struct, sys, time
signal.alarm(30)
here, there = sys.argv[1], sys.argv[2]
six = ':' in here
family = socket.AF_INET6 if six else socket.AF_INET

def listener(port):
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((here, port))
    sock.listen()
    return sock

def connection(port):
    for _ in range(200):
        try:
            return socket.create_connection((there, port), 5)
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise SystemExit('nobody listens')

def datagrams(port=0):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((here, port))
    sock.settimeout(5)
    return sock
"#;

/// The side whose sockets are in the cgroup. Its counterpart ends each connection of TCP first, as packets to
/// a connection that waits for its end meet no socket.
const INSIDE: &str = r#"
serving, udp = listener(7000), datagrams(7001)
raw = socket.socket(family, socket.SOCK_RAW, 58 if six else 1)
raw.settimeout(5)
print('ready', flush=True)
for _ in range(3):
    sock, _ = serving.accept()
    while data := sock.recv(65536):
        sock.sendall(data[:2000])
    sock.close()
for _ in range(6):
    data, peer = udp.recvfrom(100)
    if data != b'silent':
        udp.sendto(data, peer)
sock = connection(7002)
sock.sendall(b'x' * 5000)
while sock.recv(65536):
    pass
sock.close()
for number in range(3):
    head = struct.pack('!BBHHH', 128 if six else 8, 0, 0, 77, number)
    total = sum(struct.unpack('!4H', head))
    total = ~(total + (total >> 16)) & 0xffff
    raw.sendto(head if six else head[:2] + struct.pack('!H', total) + head[4:], (there, 0))
    raw.recv(500)
asking = datagrams()
asking.sendto(b'nobody there', (there, 9))
time.sleep(0.5)
"#;

/// The other.
const OUTSIDE: &str = r#"
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff

def hostile(sock):
    """A segment of the connection with flags that no segment has; who gets it is silent."""
    source, port = sock.getsockname()[:2]
    target, peer = sock.getpeername()[:2]
    header = struct.pack('!HHIIBBHHH', port, peer, 0x12345678, 0x12345678, 0x50, 0x29, 500, 0, 0)
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    total = checksum(ends + struct.pack('!HBBH', 0, 0, 6, len(header)) + header)
    raw = socket.socket(family, socket.SOCK_RAW, 6)
    raw.sendto(header[:16] + struct.pack('!H', total) + header[18:], (there, 0))

serving = listener(7002)
for size in (1, 3000, 100000):
    sock = connection(7000)
    sock.sendall(b'y' * size)
    sock.recv(65536)
    if size == 3000:
        hostile(sock)
        time.sleep(0.1)
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass
    sock.close()
udp = datagrams()
for port, data in ((7001, b'silent'), (7001, b'silent'), (7001, b'1'), (7001, b'2')):
    udp.sendto(data, (there, port))
    if data != b'silent':
        udp.recv(100)
udp = datagrams()
for data in (b'3', b'4'):
    udp.sendto(data, (there, 7003))
    udp.recv(100)
sock, _ = serving.accept()
sock.recv(65536)
sock.sendall(b'z' * 3000)
sock.shutdown(socket.SHUT_WR)
while sock.recv(65536):
    pass
sock.close()
time.sleep(1)
"#;

/// A directory that is gone with the value, after what was mounted there.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(kind: &str) -> Result<Mounted> {
        let directory = tempfile::tempdir()?;
        let none: Option<&str> = None;
        mount(
            Some("none"),
            directory.path(),
            Some(kind),
            MsFlags::empty(),
            none,
        )
        .with_context(|| format!("cannot mount {kind}"))?;
        Ok(Mounted(directory))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// A named network namespace with an end of a cable to the calling thread's, gone with the value.
struct Peer(String);

impl Peer {
    fn new(family: Family) -> Result<Peer> {
        let peer = Peer(format!("ipt2bpf-peer-{}", std::process::id()));
        tool::run("ip", &["netns", "add", &peer.0], "")?;
        let pair = ["link", "add", "near", "type", "veth", "peer", "name", "far"];
        tool::run("ip", &[&pair[..], &["netns", &peer.0]].concat(), "")?;
        let (near, far) = addresses(family);
        let far = ["-n", &peer.0, "addr", "add", far, "dev", "far", "nodad"];
        let near = ["addr", "add", near, "dev", "near", "nodad"];
        let plain = |arguments: &[&str]| -> Vec<String> {
            let kept = arguments
                .iter()
                .filter(|it| family == Family::V6 || **it != "nodad");
            kept.map(|it| it.to_string()).collect()
        };
        for arguments in [plain(&near), plain(&far)] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            tool::run("ip", &arguments, "")?;
        }
        tool::run("ip", &["link", "set", "near", "up"], "")?;
        tool::run("ip", &["-n", &peer.0, "link", "set", "far", "up"], "")?;
        Ok(peer)
    }

    fn python(&self, script: &str, arguments: [&str; 2]) -> Result<Child> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, "python3", "-c", script]);
        command.args(arguments).spawn().context("no python3")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = tool::run("ip", &["netns", "del", &self.0], "");
    }
}

/// Of this side and the other, with their network's length.
fn addresses(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("10.9.0.1/24", "10.9.0.2/24"),
        Family::V6 => ("fd09::1/64", "fd09::2/64"),
    }
}

fn host(address: &str) -> &str {
    address.split('/').next().unwrap_or(address)
}

fn rules(family: Family) -> String {
    let (here, there) = addresses(family);
    let [icmp, module, kind] = match family {
        Family::V4 => ["icmp", "icmp", "--icmp-type"],
        Family::V6 => ["ipv6-icmp", "icmp6", "--icmpv6-type"],
    };
    let [ask, answer, error] = match family {
        Family::V4 => ["8", "0", "3/3"],
        Family::V6 => ["128", "129", "1/4"],
    };
    RULES
        .replace("-m ICMPTYPE", &format!("-m {module} {kind}"))
        .replace("ICMP", icmp)
        .replace("ASK", ask)
        .replace("ANSWER", answer)
        .replace("ERROR", error)
        .replace("THERE", host(there))
        .replace("HERE", host(here))
}

/// The rules without those that a hook refuses.
fn attached(registry: &Registry, group: &Path, family: Family) -> Result<(String, Loaded)> {
    let access = kernel::device_access().context("a kernel without access to its structures")?;
    let options = Options {
        hooks: vec![Hook::CgroupIngress, Hook::CgroupEgress],
        device_names: DeviceNames::Kernel(access),
        conntrack: ConnectionTable::Kernel,
        tick_rate: kernel::tick_rate(),
        ..Options::default()
    };
    let text = rules(family);
    let ruleset = subjects::ruleset(family, &text)?;
    let compiled = compile(std::slice::from_ref(&ruleset), &options)
        .map_err(|said| anyhow::anyhow!("{said:#?}"))?;
    let loaded = load(&compiled.object)?;
    registry.attach_cgroup(&loaded, group)?;
    Ok((text, loaded))
}

fn compare(family: Family) -> Result<u64> {
    let bpffs = Mounted::new("bpf")?;
    let hierarchy = Mounted::new("cgroup2")?;
    let group = hierarchy
        .0
        .path()
        .join(format!("ipt2bpf-kernel-{}", std::process::id()));
    fs::create_dir(&group)?;
    let result = in_group(family, bpffs.0.path(), &group);
    // Processes leave it when they are gone, which may take a moment.
    for _ in 0..50 {
        if fs::remove_dir(&group).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    result
}

fn in_group(family: Family, bpffs: &Path, group: &Path) -> Result<u64> {
    let peer = Peer::new(family)?;
    let registry = Registry::at(bpffs.join("ipt2bpf"));
    netfilter::load(family, &(rules(family) + BESIDE))?;
    let (text, loaded) = attached(&registry, group, family)?;

    let (here, there) = addresses(family);
    let (here, there) = (host(here), host(there));
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec python3 -c \"$0\" \"$@\"",
        group.display()
    );
    let mut inside = Command::new("sh")
        .args(["-c", &script, &(COMMON.to_owned() + INSIDE), here, there])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = [0; 6];
    let output = inside.stdout.as_mut().context("no output")?;
    output.read_exact(&mut said).context("not ready")?;
    let mut outside = peer.python(&(COMMON.to_owned() + OUTSIDE), [there, here])?;
    let (inside, outside) = (inside.wait()?, outside.wait()?);
    ensure!(inside.success() && outside.success(), "the processes fail");

    let ruleset = subjects::ruleset(family, &text)?;
    let keys = subjects::counter_keys(&ruleset);
    let ours = loaded.maps().counters()?;
    let (mut packets, mut differences) = (0, Vec::new());
    let counted = netfilter::counters(family)?;
    for theirs in counted.iter().filter(|it| !it.text.starts_with(':')) {
        let Some(index) = keys.iter().position(|key| *key == theirs.key) else {
            continue;
        };
        let ours = ours.get(index).context("a counter of ours")?.packets;
        eprintln!("{ours} {}", theirs.text);
        if ours != theirs.counters.packets {
            let line = format!("{ours}, netfilter {:?}: {}", theirs.counters, theirs.text);
            differences.push(line);
        }
        packets += ours;
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    detached(&registry, group)?;
    Ok(packets)
}

/// What handed over is gone with what it was for.
fn detached(registry: &Registry, group: &Path) -> Result<()> {
    for attachment in registry.at_cgroup(group)? {
        let dir = attachment.pin.parent().context("a directory")?.to_owned();
        registry.detach(&attachment)?;
        let left = fs::read_dir(&dir).map_or(0, Iterator::count);
        ensure!(
            attachment.hook != Hook::CgroupIngress || left <= 1,
            "{left} pins are left"
        );
    }
    Ok(())
}

#[test]
fn sockets_meet_the_connections_of_the_kernel() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    if kernel::device_access().is_none() {
        eprintln!("skipped: programs cannot look into this kernel");
        return;
    }
    if kernel::version() < Some((6, 4)) {
        eprintln!("skipped: netfilter runs no programs in this kernel");
        return;
    }
    for family in [Family::V4, Family::V6] {
        let packets = netns::isolated(|| compare(family)).expect("nothing differs");
        assert!(packets > 300, "{packets}");
    }
}
