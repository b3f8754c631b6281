//! Namespaces, file systems, cgroups and wires of the tests' own, and who talks over them.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipt2bpf_difftest::netns::isolated;
use nix::sched::{CloneFlags, unshare};

/// Long for a connection over a virtual wire, short for a test.
pub const PATIENCE: Duration = Duration::from_millis(400);

/// One at a time: a process is in one cgroup only.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a test in a network namespace and with a BPF file system of its own; says so when it cannot.
pub fn in_kernel(test: impl FnOnce(&Path) -> Result<()> + Send) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    isolated(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        run("mount", "--make-rprivate /")?;
        run("mount", "-t bpf bpf /sys/fs/bpf")?;
        run("ip", "link set lo up")?;
        test(dir.path())
    })
    .unwrap_or_else(|error| panic!("{error:?}"));
}

/// Runs a tool with words that hold no spaces, and gives what it prints.
pub fn run(tool: &str, arguments: &str) -> Result<String> {
    let output = Command::new(tool)
        .args(arguments.split_whitespace())
        .output()
        .with_context(|| tool.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{tool} {arguments}: {}: {said}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

pub fn ipt2bpf(arguments: &str) -> Result<String> {
    run(env!("CARGO_BIN_EXE_ipt2bpf"), arguments)
}

/// A cgroup, removed with the value.
pub struct Cgroup {
    pub path: PathBuf,
    /// Where this process is at home.
    home: PathBuf,
}

impl Cgroup {
    pub fn new(name: &str) -> Result<Cgroup> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let root = line.and_then(|line| line.split(' ').nth(4));
        let root = Path::new(root.context("no cgroup v2 hierarchy is mounted")?);
        let memberships = fs::read_to_string("/proc/self/cgroup")?;
        let home = memberships
            .lines()
            .find_map(|line| line.strip_prefix("0::/"));
        let home = root.join(home.context("this process has no cgroup v2")?);
        let path = root.join(format!("ipt2bpf-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Cgroup { path, home })
    }

    /// Makes sockets that belong to the cgroup: a socket stays in the cgroup where it was made.
    pub fn inside<T>(&self, make: impl FnOnce() -> T) -> Result<T> {
        fs::write(self.path.join("cgroup.procs"), "0")?;
        let made = make();
        fs::write(self.home.join("cgroup.procs"), "0")?;
        Ok(made)
    }

    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A test that failed inside must leave first. There is no one to tell an error to.
        let _ = fs::write(self.home.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.path);
    }
}

pub const LOOPBACKS: [&str; 2] = ["127.0.0.1", "[::1]"];

pub fn address(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

pub fn listen(hosts: &[&str], ports: &[u16]) -> Result<Vec<TcpListener>> {
    let addresses = hosts
        .iter()
        .flat_map(|host| ports.iter().map(move |&port| address(host, port)));
    addresses
        .map(|address| TcpListener::bind(address).with_context(|| address.to_string()))
        .collect()
}

pub fn connects(host: &str, port: u16) -> bool {
    TcpStream::connect_timeout(&address(host, port), PATIENCE).is_ok()
}

/// The packets that the rules counted whose text ends so, one number for each family.
pub fn packets(saved: &str, rule: &str) -> Vec<u64> {
    let lines = saved.lines().filter(|line| line.ends_with(rule));
    lines
        .map(|line| line[1..].split(':').next().unwrap().parse().unwrap())
        .collect()
}

/// Rules of both families from one text.
pub fn both_families(dir: &Path, name: &str, rules: &str) -> Result<String> {
    both_families_apart(dir, name, |_| rules.to_owned())
}

/// Rules of both families from a text for each, by its number.
pub fn both_families_apart(dir: &Path, name: &str, rules: impl Fn(u8) -> String) -> Result<String> {
    let table = |family| {
        let rules = rules(family);
        format!(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}COMMIT\n"
        )
    };
    let (v4, v6) = (table(4), table(6));
    let text = format!("# Generated by iptables-save\n{v4}# Generated by ip6tables-save\n{v6}");
    let path = dir.join(name);
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// A neighbour in a network namespace of its own, at the other end of a wire to this one.
pub struct Neighbour {
    jobs: Option<Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
    task: u32,
}

type Job = Box<dyn FnOnce() + Send>;

impl Neighbour {
    fn new() -> Result<Neighbour> {
        let (jobs, queue) = channel::<Job>();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let task = unshare(CloneFlags::CLONE_NEWNET)
                .map_err(anyhow::Error::from)
                .and_then(|()| Ok(fs::read_link("/proc/thread-self")?));
            if tell.send(task).is_ok() {
                queue.into_iter().for_each(|job| job());
            }
        });
        let task = told.recv()??;
        let task = task
            .file_name()
            .and_then(|name| name.to_str())
            .context("/proc/thread-self")?;
        Ok(Neighbour {
            jobs: Some(jobs),
            thread: Some(thread),
            task: task.parse()?,
        })
    }

    /// Does something in the neighbour's namespace.
    pub fn does<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (tell, told) = channel();
        let job = Box::new(move || {
            // Who asked waits for the answer.
            let _ = tell.send(job());
        });
        self.jobs
            .as_ref()
            .context("no neighbour")?
            .send(job)
            .ok()
            .context("the neighbour is gone")?;
        Ok(told.recv()?)
    }

    pub fn connects(&self, host: &'static str, port: u16) -> Result<bool> {
        self.does(move || connects(host, port))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was seen as a missing answer.
            let _ = thread.join();
        }
    }
}

pub const WIRE: [&str; 2] = ["10.77.0.1", "[fd77::1]"];

/// Two hosts and a wire: `near` here, `far` there.
pub fn wire() -> Result<Neighbour> {
    let neighbour = Neighbour::new()?;
    run(
        "ip",
        &format!(
            "link add near type veth peer name far netns {}",
            neighbour.task
        ),
    )?;
    for command in [
        "addr add 10.77.0.1/24 dev near",
        "addr add fd77::1/64 dev near nodad",
        "link set near up",
    ] {
        run("ip", command)?;
    }
    neighbour.does(|| -> Result<()> {
        for command in [
            "addr add 10.77.0.2/24 dev far",
            "addr add fd77::2/64 dev far nodad",
            "link set far up",
        ] {
            run("ip", command)?;
        }
        Ok(())
    })??;
    Ok(neighbour)
}
