//! Killing the command at its system calls: a hook that had a filter keeps one, and what is left behind is
//! cleaned by the next command.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::dispatcher::{dispatchers, rules, with_dispatchers};
use crate::places::{Cgroup, attachments, both_families, in_kernel, ipt2bpf, run, wire};

/// Where pins are.
const ROOT: &str = "/sys/fs/bpf/ipt2bpf";
/// A port that all rules drop, and one that all accept.
const CLOSED: u16 = 7002;
const OPEN: u16 = 7001;

/// Which system calls a run is killed at.
#[derive(Clone, Copy)]
enum Points {
    /// Those that change links, pins and what interfaces run, and the end.
    Changing,
    /// All; of those that only look, behind others that do, only the first. A look at each connection takes two.
    All,
}

/// Commands of bpf(2) that only look (`enum bpf_cmd`, include/uapi/linux/bpf.h).
const BPF_MAP_LOOKUP_ELEM: u64 = 1;
const BPF_MAP_GET_NEXT_KEY: u64 = 4;
const BPF_OBJ_GET_INFO_BY_FD: u64 = 15;
/// Those that change links and pins.
const BPF_OBJ_PIN: u64 = 6;
const BPF_LINK_CREATE: u64 = 28;
const BPF_LINK_UPDATE: u64 = 29;
const BPF_LINK_DETACH: u64 = 34;

impl Points {
    /// Whether a system call is among them.
    fn hold(self, call: Call, before: Option<Call>) -> bool {
        let Call { number, argument } = call;
        const CHANGES: [i64; 5] = [
            // What is sent is sent to rtnetlink(7).
            libc::SYS_sendto,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_unlinkat,
            libc::SYS_exit_group,
        ];
        #[cfg(target_arch = "x86_64")]
        const OLD_FILES: [i64; 2] = [libc::SYS_rename, libc::SYS_unlink];
        #[cfg(not(target_arch = "x86_64"))]
        const OLD_FILES: [i64; 0] = [];
        let bpf = [
            BPF_OBJ_PIN,
            BPF_LINK_CREATE,
            BPF_LINK_UPDATE,
            BPF_LINK_DETACH,
        ];
        match self {
            Points::All => !(call.looks() && before.is_some_and(Call::looks)),
            Points::Changing if number == libc::SYS_bpf => bpf.contains(&argument),
            Points::Changing => CHANGES.contains(&number) || OLD_FILES.contains(&number),
        }
    }
}

/// A system call: its number and its first argument.
#[derive(Clone, Copy)]
struct Call {
    number: i64,
    argument: u64,
}

impl Call {
    /// Whether it leaves everything as it was.
    fn looks(self) -> bool {
        let bpf = [
            BPF_MAP_LOOKUP_ELEM,
            BPF_MAP_GET_NEXT_KEY,
            BPF_OBJ_GET_INFO_BY_FD,
        ];
        self.number == libc::SYS_read
            || self.number == libc::SYS_bpf && bpf.contains(&self.argument)
    }

    /// The one that a process has stopped at.
    #[cfg(target_arch = "x86_64")]
    fn of(pid: Pid) -> Result<Call> {
        let registers = ptrace::getregs(pid)?;
        Ok(Call {
            number: registers.orig_rax.cast_signed(),
            argument: registers.rdi,
        })
    }

    /// The one that a process has stopped at, from a line that begins with the number in decimal and goes on
    /// with the arguments in hexadecimal (proc(5)).
    #[cfg(not(target_arch = "x86_64"))]
    fn of(pid: Pid) -> Result<Call> {
        let line = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
        let mut words = line.split(' ');
        let number = words.next().unwrap_or_default().trim().parse()?;
        let argument = words.next().unwrap_or("0x0");
        let argument = u64::from_str_radix(argument.trim_start_matches("0x"), 16)?;
        Ok(Call { number, argument })
    }
}

/// How a run ended.
enum End {
    /// At the entry of a system call.
    Killed(Call),
    /// Of itself.
    Done,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Killed(call) => write!(
                f,
                "killed before system call {} of {:#x}",
                call.number, call.argument
            ),
            End::Done => f.write_str("done"),
        }
    }
}

/// Runs the command and kills it when it is about to make the system call of a number among some points.
fn run_until(arguments: &str, points: Points, number: usize) -> Result<End> {
    // The shell waits, so that it can be seized before anything happens.
    let mut child = Command::new("sh")
        .args(["-c", r#"read -r go; exec "$0" "$@" </dev/null"#])
        .arg(env!("CARGO_BIN_EXE_ipt2bpf"))
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = Pid::from_raw(child.id().try_into()?);
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACEEXEC
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options)?;
    child.stdin.take().context("a pipe")?.write_all(b"go\n")?;
    let binary = fs::canonicalize(env!("CARGO_BIN_EXE_ipt2bpf"))?;
    loop {
        let started = waitpid(pid, None)?;
        ensure!(
            matches!(
                started,
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC)
            ),
            "{started:?}"
        );
        if fs::read_link(format!("/proc/{pid}/exe"))? == binary {
            break;
        }
        ptrace::cont(pid, None)?;
    }
    // The first stop is the return from execve(2).
    let (mut entering, mut met, mut before) = (false, 0, None);
    ptrace::syscall(pid, None)?;
    loop {
        match waitpid(pid, None)? {
            WaitStatus::PtraceSyscall(_) => {
                if entering {
                    let call = Call::of(pid)?;
                    met += usize::from(points.hold(call, before));
                    if met == number {
                        kill(pid, Signal::SIGKILL)?;
                        child.wait()?;
                        return Ok(End::Killed(call));
                    }
                    before = Some(call);
                }
                entering = !entering;
                ptrace::syscall(pid, None)?;
            }
            WaitStatus::Stopped(_, signal) => ptrace::syscall(pid, signal)?,
            WaitStatus::Exited(_, 0) => return Ok(End::Done),
            other => {
                child.kill()?;
                let mut said = String::new();
                child
                    .stderr
                    .take()
                    .context("a pipe")?
                    .read_to_string(&mut said)?;
                bail!("{arguments}: {other:?}: {said}");
            }
        }
    }
}

/// Kills a command at each of its points. `before` is done before, `after` is asked of what is left each time,
/// and where that is not what was there before, `clean` puts it right.
fn at_each_point(
    points: Points,
    command: &str,
    before: impl Fn() -> Result<()>,
    after: impl Fn() -> Result<()>,
    clean: impl Fn() -> Result<()>,
) -> Result<()> {
    let mut untouched = None;
    for number in 1.. {
        let start = match untouched.take() {
            Some(state) => state,
            None => {
                before()?;
                State::now()?
            }
        };
        let end = run_until(command, points, number)?;
        let at = || format!("{command}: point {number}: {end}");
        after().with_context(at)?;
        // Most points come before anything is changed; loading the same rules at each would take an hour.
        match State::now().with_context(at)? == start {
            true => untouched = Some(start),
            false => clean().with_context(at)?,
        }
        if let End::Done = end {
            ensure!(number > 2, "the command was never stopped");
            eprintln!("{command}: killed at {} points", number - 1);
            break;
        }
    }
    Ok(())
}

/// What a command leaves in the kernel: all that is neither pinned nor attached goes with its process.
#[derive(PartialEq, Eq)]
struct State {
    /// What is below the BPF file system, by inode number, which no other pin of the same name has.
    files: BTreeMap<PathBuf, u64>,
    /// The places and the ids of the programs that are attached.
    attached: String,
}

impl State {
    fn now() -> Result<State> {
        let mut files = BTreeMap::new();
        let mut dirs = vec![PathBuf::from("/sys/fs/bpf")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                files.insert(entry.path(), entry.ino());
                if entry.file_type()?.is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
        let attached = attachments()?.join("\n");
        Ok(State { files, attached })
    }
}

/// The pins below a directory.
fn pins(dir: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        count += match entry.file_type()?.is_dir() {
            true => pins(&entry.path())?,
            false => 1,
        };
    }
    Ok(count)
}

/// Attaches, and asks whether nothing but two programs is pinned then.
fn attach_two(command: &str) -> Result<()> {
    ipt2bpf(command)?;
    ensure!(attachments()?.len() == 2, "two programs");
    ensure!(pins(Path::new(ROOT))? == 2, "something else is pinned");
    Ok(())
}

/// Detaches, unless a command that was killed has done so, and asks whether nothing is left.
fn detach_all(place: &str) -> Result<()> {
    if let Err(error) = ipt2bpf(&format!("detach {place}")) {
        let said = error.to_string();
        ensure!(said.contains("has attached nothing"), "{said}");
    }
    ensure!(!Path::new(ROOT).exists(), "pins are left");
    Ok(())
}

/// Sockets before and behind a filter.
struct Probe {
    closed: UdpSocket,
    open: UdpSocket,
    sender: UdpSocket,
}

impl Probe {
    /// Sends to the closed port and then to the open one; whether only the second arrives.
    fn is_filtered(&self) -> Result<bool> {
        self.open.set_read_timeout(Some(Duration::from_secs(5)))?;
        self.closed.set_nonblocking(true)?;
        self.sender.send_to(b"closed", self.closed.local_addr()?)?;
        self.sender.send_to(b"open", self.open.local_addr()?)?;
        let mut bytes = [0; 8];
        self.open.recv(&mut bytes).context("the open port")?;
        Ok(self.closed.recv(&mut bytes).is_err())
    }
}

fn cgroup_is_killed_at(points: Points) {
    in_kernel(|dir| {
        let closed = format!(
            "-A INPUT -p udp --dport {CLOSED} -j DROP\n-A OUTPUT -p udp --dport {CLOSED} -j DROP\n"
        );
        let old = both_families(dir, "old", &closed)?;
        let new = both_families(
            dir,
            "new",
            &format!("-A INPUT -p tcp --dport 1 -j DROP\n{closed}"),
        )?;
        let cgroup = Cgroup::new("kill")?;
        let place = cgroup.name();
        let address = |port| ("127.0.0.1", port);
        let sender = UdpSocket::bind(address(0))?;
        let inside = cgroup.inside(|| UdpSocket::bind(address(0)))??;
        let probe = cgroup.inside(|| -> Result<Probe> {
            Ok(Probe {
                closed: UdpSocket::bind(address(CLOSED))?,
                open: UdpSocket::bind(address(OPEN))?,
                sender,
            })
        })??;
        let is_filtered = || -> Result<()> {
            ensure!(probe.is_filtered()?, "what comes in is not filtered");
            let sent = inside.send_to(b"closed", address(CLOSED));
            ensure!(sent.is_err(), "what goes out is not filtered");
            Ok(())
        };
        let place = format!("--cgroup {place}");
        let attach = |rules: &str| format!("attach {place} {rules}");
        let nothing = || Ok(());
        let attached = || ipt2bpf(&attach(&old)).map(drop);
        at_each_point(points, &attach(&old), nothing, nothing, || {
            attach_two(&attach(&new))?;
            is_filtered()?;
            detach_all(&place)
        })?;
        attached()?;
        let replace = format!("replace {place} {new}");
        for command in [attach(&new), replace] {
            at_each_point(points, &command, nothing, is_filtered, || {
                is_filtered()?;
                attach_two(&attach(&old))
            })?;
        }
        let detach = format!("detach {place}");
        at_each_point(points, &detach, attached, nothing, || detach_all(&place))?;
        ensure!(!probe.is_filtered()?, "a filter is left");
        Ok(())
    });
}

fn interface_is_killed_at(points: Points) {
    in_kernel(|dir| {
        let rules = |name, extra: &str| {
            // One family is verified in half the time.
            let path = dir.join(name);
            fs::write(
                &path,
                format!(
                    "*filter\n:INPUT DROP [0:0]\n{extra}\
                     -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
                     -A INPUT -p udp --dport {OPEN} -j ACCEPT\nCOMMIT\n"
                ),
            )?;
            anyhow::Ok(path.display().to_string())
        };
        let old = rules("old", "")?;
        let new = rules("new", "-A INPUT -p tcp --dport 1 -j DROP\n")?;
        let neighbour = wire()?;
        // Who is next door must be known: of IPv4, ARP is not filtered.
        let sender = neighbour.does(|| UdpSocket::bind("10.77.0.2:0"))??;
        let near = |port| UdpSocket::bind(("10.77.0.1", port));
        let probe = Probe {
            closed: near(CLOSED)?,
            open: near(OPEN)?,
            sender,
        };
        let answers_arrive = || -> Result<()> {
            let asking = near(0)?;
            let far = probe.sender.local_addr()?;
            asking.send_to(b"question", far)?;
            let mut bytes = [0; 8];
            probe
                .sender
                .set_read_timeout(Some(Duration::from_secs(5)))?;
            probe.sender.recv(&mut bytes).context("the question")?;
            probe.sender.send_to(b"answer", asking.local_addr()?)?;
            asking.set_read_timeout(Some(Duration::from_secs(5)))?;
            asking.recv(&mut bytes).context("the answer")?;
            Ok(())
        };
        let is_filtered = || -> Result<()> {
            ensure!(probe.is_filtered()?, "the interface is not filtered");
            answers_arrive()
        };
        let place = "--xdp near";
        let attach = |rules: &str| format!("attach --connections 1024 {place} {rules}");
        let nothing = || Ok(());
        let attached = || ipt2bpf(&attach(&old)).map(drop);
        if let Points::All = points {
            at_each_point(points, &attach(&old), nothing, answers_arrive, || {
                attach_two(&attach(&new))?;
                is_filtered()?;
                detach_all(place)
            })?;
        }
        attached()?;
        let replace = format!("replace --connections 1024 {place} {new}");
        for command in [attach(&new), replace] {
            at_each_point(points, &command, nothing, is_filtered, || {
                attach_two(&attach(&old))
            })?;
        }
        let detach = format!("detach {place}");
        at_each_point(points, &detach, attached, answers_arrive, || {
            detach_all(place)
        })?;
        ensure!(!probe.is_filtered()?, "a filter is left");
        Ok(())
    });
}

fn dispatcher_is_killed_at(points: Points) {
    with_dispatchers(|dir, neighbour| {
        let (old, new) = (rules(dir, "old", CLOSED)?, rules(dir, "new", CLOSED)?);
        // Another program, which all leave there.
        let object = dir.join("theirs.o").display().to_string();
        ipt2bpf(&format!(
            "--hook xdp -o {object} {}",
            rules(dir, "theirs", 1)?
        ))?;
        run("xdp-loader", &format!("load near {object}"))?;
        let near = |port| UdpSocket::bind(("10.77.0.1", port));
        let probe = Probe {
            closed: near(CLOSED)?,
            open: near(OPEN)?,
            sender: neighbour.does(|| UdpSocket::bind("10.77.0.2:0"))??,
        };
        let called = |number: usize| {
            let status = run("xdp-loader", "status near")?;
            let found = status.matches(" => ").count();
            ensure!(found == number, "{found} programs are called: {status}");
            Ok(())
        };
        let theirs = || {
            let status = run("xdp-loader", "status near")?;
            ensure!(status.contains("50     ipt2bpf_xdp"), "{status}");
            Ok(())
        };
        let is_filtered = || {
            ensure!(probe.is_filtered()?, "the interface is not filtered");
            theirs()
        };
        let attach = |rules: &str| format!("attach --xdp near {rules}");
        let attach_one = |rules: &str| {
            ipt2bpf(&attach(rules))?;
            ensure!(attachments()?.len() == 1, "one program of ours");
            // The program, and the dispatcher that calls it.
            ensure!(pins(Path::new(ROOT))? == 2, "something else is pinned");
            ensure!(dispatchers()?.len() == 1, "{:?}", dispatchers()?);
            called(2)
        };
        let detach_one = || {
            detach_all("--xdp near")?;
            ensure!(dispatchers()?.len() == 1, "{:?}", dispatchers()?);
            called(1)
        };
        let nothing = || Ok(());
        at_each_point(points, &attach(&old), nothing, theirs, || {
            attach_one(&new)?;
            is_filtered()?;
            detach_one()
        })?;
        attach_one(&old)?;
        let replace = format!("replace --xdp near {new}");
        for command in [attach(&new), replace] {
            at_each_point(points, &command, nothing, is_filtered, || attach_one(&old))?;
        }
        let attached = || attach_one(&old);
        at_each_point(points, "detach --xdp near", attached, theirs, detach_one)
    });
}

#[test]
fn pins_for_others_are_there_when_the_command_is_killed() {
    in_kernel(|dir| {
        let one = both_families(dir, "one", "-A INPUT -p udp -j DROP\n")?;
        let other = both_families(dir, "other", "-A OUTPUT -p udp -j DROP\n")?;
        let home = Path::new("/sys/fs/bpf/home");
        let load = |rules: &str| {
            format!(
                "load --hook cgroup_skb/ingress --hook cgroup_skb/egress --pin {} {rules}",
                home.display()
            )
        };
        let programs = || {
            let names = ["ipt2bpf_ingress", "ipt2bpf_egress"];
            ensure!(
                names.iter().all(|name| home.join(name).exists()),
                "{names:?}"
            );
            Ok(())
        };
        ipt2bpf(&load(&one))?;
        let all = pins(home)?;
        at_each_point(
            Points::Changing,
            &load(&other),
            || Ok(()),
            programs,
            || {
                ipt2bpf(&load(&one))?;
                ensure!(pins(home)? == all, "something else is pinned");
                let shown = ipt2bpf(&format!("show --pin {}", home.display()))?;
                ensure!(shown.contains("-A INPUT"), "{shown}");
                Ok(())
            },
        )
    });
}

#[test]
fn a_cgroup_keeps_its_filter_when_the_command_is_killed() {
    cgroup_is_killed_at(Points::Changing);
}

#[test]
fn an_interface_keeps_its_filter_when_the_command_is_killed() {
    interface_is_killed_at(Points::Changing);
}

#[test]
fn a_dispatcher_goes_on_calling_when_the_command_is_killed() {
    dispatcher_is_killed_at(Points::Changing);
}

#[test]
#[ignore = "takes minutes: every system call, not only those that change something"]
fn a_dispatcher_goes_on_calling_when_the_command_is_killed_anywhere() {
    dispatcher_is_killed_at(Points::All);
}

#[test]
#[ignore = "takes minutes: every system call, not only those that change something"]
fn a_cgroup_keeps_its_filter_when_the_command_is_killed_anywhere() {
    cgroup_is_killed_at(Points::All);
}

#[test]
#[ignore = "takes minutes: every system call, not only those that change something"]
fn an_interface_keeps_its_filter_when_the_command_is_killed_anywhere() {
    interface_is_killed_at(Points::All);
}
