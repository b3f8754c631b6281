//! Owners of sockets against the kernel's: processes of a cgroup send over the loopback interface as this
//! user and that, and each packet meets OUTPUT's rules and the same rules in the program at the cgroup. Lines of LOG name the same owners.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{DeviceNames, Options};
use ipt2bpf_difftest::log::{KernelLog, Words};
use ipt2bpf_difftest::{netfilter, netns, subjects, tool};
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::{Registry, group_of, kernel, load};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const RULES: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A OUTPUT -m owner --uid-owner 0
-A OUTPUT -m owner ! --uid-owner 0
-A OUTPUT -m owner --uid-owner 1000-1999
-A OUTPUT -m owner --gid-owner 0
-A OUTPUT -m owner ! --gid-owner 0
-A OUTPUT -m owner --gid-owner 2000-2999
-A OUTPUT -m owner --gid-owner 2500 --suppl-groups
-A OUTPUT -m owner ! --gid-owner 2500 --suppl-groups
-A OUTPUT -m owner --gid-owner 2600-2699 --suppl-groups
-A OUTPUT -m owner ! --uid-owner 1234 ! --gid-owner 0
-A OUTPUT -m owner --socket-exists
-A OUTPUT -m owner ! --socket-exists
-A OUTPUT -m owner --socket-exists --uid-owner 1234
-A OUTPUT -m owner ! --socket-exists ! --uid-owner 1234
-A OUTPUT -m owner ! --socket-exists --uid-owner 1234
-A OUTPUT -m cgroup --cgroup 0
-A OUTPUT -m cgroup ! --cgroup 0
-A OUTPUT -m cgroup --cgroup 7
-A OUTPUT -m cgroup ! --cgroup 7
-A OUTPUT -m cgroup --path /
-A OUTPUT -m cgroup ! --path /
-A OUTPUT -m cgroup --path GROUP
-A OUTPUT -m cgroup ! --path GROUP
-A OUTPUT -m cgroup --path /GROUP//below/
-A OUTPUT -m cgroup ! --path GROUP/below
-A OUTPUT -m cgroup --path GROUP/aside
-A OUTPUT -m cgroup ! --path GROUP/aside
-A OUTPUT -j LOG --log-uid --log-prefix \"GROUP \"
COMMIT
";

/// What the processes do, once for each of the two addresses. The other arguments are a
/// group below that of the processes, and a directory of the `net_cls` hierarchy, or nothing.
const SCRIPT: &str = r#"
import ctypes, encodings.idna, os, signal, socket, sys, time
address, below, net_cls = sys.argv[1:4]
family = socket.AF_INET6 if ':' in address else socket.AF_INET

def child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(1)

def become(uid, gid, groups):
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)

def datagrams(sock=None):
    sock = sock or socket.socket(family, socket.SOCK_DGRAM)
    for _ in range(3):
        sock.sendto(b'x', (address, 9))
        time.sleep(0.001)
    return sock

receiver = socket.socket(family, socket.SOCK_DGRAM)
receiver.bind((address, 9))

# As several users, with supplementary groups below, at and above those that rules ask for.
datagrams()
for uid, gid, groups in [
    (1234, 2345, []), (1234, 0, [2500]), (1999, 2000, [1, 2499, 2501]), (2000, 3000, [2500]),
    (5, 6, list(range(2000, 2700, 3))), (5, 6, [2599, 2700]), (5, 6, [4000000000, 2650]),
    (4294967294, 4294967294, []),
]:
    def work():
        become(uid, gid, groups)
        datagrams()
    child(work)

# Opened as root and used by another, and the other way round.
opened = datagrams()
def given():
    become(1234, 2345, [])
    datagrams(opened)
child(given)
ours, theirs = socket.socketpair(socket.AF_UNIX)
def passing():
    become(1234, 2345, [2500])
    sock = datagrams()
    socket.send_fds(theirs, [b'x'], [sock.fileno()])
child(passing)
_, fds, _, _ = socket.recv_fds(ours, 1, 1)
passed = socket.socket(fileno=fds[0])
datagrams(passed)
# The owner of the socket's inode does not count.
changed = datagrams()
os.fchown(changed.fileno(), 1234, 2345)
datagrams(changed)

# Only the user for file systems differs.
libc = ctypes.CDLL(None)
def fsuid():
    libc.setfsuid(1500)
    datagrams()
child(fsuid)

# Connections: a listener of one user, a client of another, data, and an end that no process waits for.
def connections():
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, 7000))
    listener.listen()
    def client():
        become(1300, 2400, [])
        sock = socket.create_connection((address, 7000))
        sock.sendall(b'x' * 3000)
        sock.recv(5)
        sock.close()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        client()
        os._exit(0)
    become(1234, 2345, [2600])
    sock, _ = listener.accept()
    sock.recv(5000)
    sock.sendall(b'hello')
    sock.close()
    os.waitpid(pid, 0)
    time.sleep(0.05)
child(connections)

# A raw socket.
raw = socket.socket(family, socket.SOCK_RAW, 253)
raw.sendto(b'x' * 20, (address, 0))

# Sockets of a group below, and one that was opened before its process went there.
before = datagrams()
def lower():
    with open(below + '/cgroup.procs', 'w') as file:
        file.write(str(os.getpid()))
    datagrams(before)
    datagrams()
    connections()
child(lower)

if net_cls:
    def classified():
        with open(net_cls + '/net_cls.classid', 'w') as file:
            file.write('7')
        with open(net_cls + '/cgroup.procs', 'w') as file:
            file.write(str(os.getpid()))
        datagrams()
        connections()
    child(classified)
"#;

/// A directory that is gone with the value, after what was mounted there.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// None when the system does not mount that.
    fn new(kind: &str, data: Option<&str>) -> Result<Option<Mounted>> {
        let directory = tempfile::tempdir()?;
        let mounted = mount(
            Some("none"),
            directory.path(),
            Some(kind),
            MsFlags::empty(),
            data,
        );
        Ok(mounted.is_ok().then_some(Mounted(directory)))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// The name of the groups.
fn name() -> String {
    format!("ipt2bpf-owners-{}", std::process::id())
}

/// A group of a hierarchy, gone with the value.
struct Group(PathBuf);

impl Group {
    fn new(hierarchy: &Path) -> Result<Group> {
        Self::named(hierarchy, &name())
    }

    fn named(above: &Path, name: &str) -> Result<Group> {
        let path = above.join(name);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Group(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn compare(family: Family, address: &str, log: &mut KernelLog) -> Result<u64> {
    tool::run("ip", &["link", "set", "lo", "up"], "")?;
    let bpffs = Mounted::new("bpf", None)?.context("no BPF file system")?;
    let hierarchy = Mounted::new("cgroup2", None)?.context("no cgroups")?;
    let group = Group::new(hierarchy.path())?;
    let below = Group::named(&group.0, "below")?;
    let _aside = Group::named(&group.0, "aside")?;
    let name = name();
    let rules = RULES.replace("GROUP", &name);
    let classes = Mounted::new("cgroup", Some("net_cls"))?;
    let class = classes
        .as_ref()
        .map(|it| Group::new(it.path()))
        .transpose()?;
    if class.is_none() {
        eprintln!("without classes: the net_cls hierarchy cannot be mounted");
    }

    let access = kernel::device_access().context("a kernel without access to its structures")?;
    let mut groups = HashMap::new();
    for path in ["/", "GROUP", "/GROUP//below/", "GROUP/below", "GROUP/aside"] {
        let path = path.replace("GROUP", &name).into_bytes();
        let group = group_of(&path)?.context("a group")?;
        groups.insert(path, group);
    }
    ensure!(group_of(b"/../x")?.is_none() && group_of(format!("{name}/no").as_bytes())?.is_none());
    let options = Options {
        hooks: vec![Hook::CgroupEgress],
        device_names: DeviceNames::Kernel(access),
        groups,
        ..Options::default()
    };
    let ruleset = subjects::ruleset(family, &rules)?;
    let compiled = compile(std::slice::from_ref(&ruleset), &options)
        .map_err(|said| anyhow::anyhow!("{said:?}"))?;
    let loaded = load(&compiled.object)?;
    let registry = Registry::at(bpffs.path());
    registry.attach_cgroup(&loaded, &group.0)?;
    let rulesets = [ruleset];
    let words = Words::new(&rulesets)?;
    let [ruleset] = &rulesets;
    let mut ring = loaded.maps().ring()?;
    log.lines()?;
    netfilter::load(family, &rules)?;

    let script = format!(
        "echo $$ > {}/cgroup.procs; exec python3 -c \"$0\" \"$@\"",
        group.0.display()
    );
    let class = class.as_ref().map(|it| it.0.clone()).unwrap_or_default();
    let status = Command::new("sh")
        .args(["-c", &script, SCRIPT, address])
        .arg(&below.0)
        .arg(class)
        .status()?;
    ensure!(status.success(), "the processes fail");

    let [mut printed, mut told] = [log.lines()?, words.read(&mut ring)?];
    printed.sort();
    told.sort();
    ensure!(
        printed == told,
        "netfilter prints {printed:#?}, the program {told:#?}"
    );
    let owned = told.iter().filter(|(_, line)| line.contains(" UID="));
    ensure!(owned.count() > 50, "{told:#?}");
    let counted = netfilter::counters(family)?;
    let keys = subjects::counter_keys(ruleset);
    let ours = loaded.maps().counters()?;
    let mut packets = 0;
    for theirs in counted.iter().filter(|it| !it.text.starts_with(':')) {
        let index = keys.iter().position(|key| *key == theirs.key);
        let ours = index.and_then(|index| ours.get(index));
        let ours = ours.context("a counter of ours")?.packets;
        eprintln!("{ours} {}", theirs.text);
        ensure!(
            ours == theirs.counters.packets,
            "the program counts {ours}, netfilter {:?} at {}",
            theirs.counters,
            theirs.text
        );
        packets += ours;
    }
    Ok(packets)
}

#[test]
fn sockets_have_the_owners_that_the_kernel_gives_them() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    if let Err(reason) = KernelLog::is_there() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    if kernel::device_access().is_none() {
        eprintln!("skipped: programs cannot look into this kernel");
        return;
    }
    let mut log = KernelLog::open(vec![format!("{} IN=", name())]).expect("a log");
    for (family, address) in [(Family::V4, "127.0.0.1"), (Family::V6, "::1")] {
        let packets =
            netns::isolated(|| compare(family, address, &mut log)).expect("nothing differs");
        assert!(packets > 100, "{packets}");
    }
}
