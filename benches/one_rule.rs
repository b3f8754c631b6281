//! What it costs to change one rule of many on an attached filter, beside looking at the rules, compiling all of
//! them, and what iptables takes for the same with as many rules. Needs root, a cgroup v2 hierarchy and
//! iptables-legacy.
//!
//! Times are those of the processor, the kernel's part among them: who else uses the machine does not count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

const RULES: u32 = 10_000;
const ROUNDS: usize = 9;

/// A cgroup with a filter, gone with the value.
struct Filtered(PathBuf);

impl Filtered {
    fn new(rules: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let root = line.and_then(|line| line.split(' ').nth(4));
        let name = format!("ipt2bpf-bench-{}", std::process::id());
        let path = Path::new(root.expect("a cgroup v2 hierarchy")).join(name);
        fs::create_dir(&path).expect("a cgroup; needs root");
        let filtered = Filtered(path);
        filtered.timed("attach", &[&rules.display().to_string()]);
        filtered
    }

    /// Milliseconds that a subcommand takes on the filter.
    fn timed(&self, subcommand: &str, words: &[&str]) -> f64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"));
        command.arg(subcommand).arg("--cgroup").arg(&self.0);
        timed(command.args(words))
    }

    fn iptables(&self, words: &str) -> f64 {
        let words: Vec<&str> = words.split(' ').collect();
        self.timed("iptables", &words)
    }
}

impl Drop for Filtered {
    fn drop(&mut self) {
        self.timed("detach", &[]);
        let _ = fs::remove_dir(&self.0);
    }
}

/// Milliseconds of the processor that a command takes, which must succeed.
fn timed(command: &mut Command) -> f64 {
    let before = used();
    let status = command.stdout(Stdio::null()).status();
    let time = used() - before;
    assert!(status.is_ok_and(|it| it.success()), "{command:?}");
    time
}

/// Milliseconds that all commands have taken so far.
fn used() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("what children use");
    let milliseconds = |time: TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    milliseconds(usage.user_time()) + milliseconds(usage.system_time())
}

/// iptables in the network namespace of this process.
fn legacy(words: &str) -> f64 {
    timed(Command::new("iptables-legacy").args(words.split(' ')))
}

fn main() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace; needs root");
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules");
    fs::write(&rules, text()).expect("a file");
    let filter = Filtered::new(&rules);
    timed(Command::new("iptables-legacy-restore").arg(&rules));
    let whole = rules.display().to_string();
    let mut times = [const { Vec::new() }; 8];
    // In turns, so that what else the machine does concerns all.
    for round in 1..=ROUNDS {
        let rule = format!("-s 198.51.100.{round} -p tcp --dport 22 -j DROP");
        times[0]
            .push(filter.iptables("-C INPUT -s 10.0.0.0/24 -d 192.0.2.0 -p tcp --dport 1 -j DROP"));
        times[1].push(filter.iptables(&format!("-A INPUT {rule}")));
        times[2].push(filter.iptables(&format!("-I INPUT 5000 {rule}")));
        times[3].push(filter.iptables("-R INPUT 2500 -s 198.51.100.0/24 -j ACCEPT"));
        times[4].push(filter.iptables("-D INPUT 7500"));
        times[5].push(filter.timed("replace", &[&whole]));
        times[6].push(legacy(&format!("-A INPUT {rule}")));
        times[7].push(legacy("-D INPUT 7500"));
    }
    let medians = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let names = [
        "-C, which looks only",
        "-A",
        "-I",
        "-R",
        "-D",
        "replace, all anew",
        "iptables-legacy -A",
        "iptables-legacy -D",
    ];
    println!("one rule of {RULES}, processor time, median of {ROUNDS}:");
    for (name, median) in names.iter().zip(medians) {
        let (anew, legacy) = (medians[5] / median, median / medians[6]);
        println!(
            "{name:21} {median:8.1} ms  all anew x {anew:5.1}  {legacy:5.2} of iptables-legacy -A"
        );
    }
}

/// Rules with hosts, networks and ports, as in an access control list.
fn text() -> String {
    let rules = (0..RULES).map(|rule| {
        let (high, low) = (rule / 256, rule % 256);
        let (length, protocol) = ([24, 28, 32, 16][(rule % 4) as usize], ["tcp", "udp"][(rule % 2) as usize]);
        let bits = u32::MAX << (32 - length);
        let source = std::net::Ipv4Addr::from((0x0a00_0000 | (rule * 2_654_435) & 0x00ff_ffff) & bits);
        format!(
            "-A INPUT -s {source}/{length} -d 192.0.{high}.{low} -p {protocol} --dport {} -j DROP\n",
            rule % 1000 + 1
        )
    });
    let first = "-A INPUT -s 10.0.0.0/24 -d 192.0.2.0 -p tcp --dport 1 -j DROP\n";
    format!("*filter\n{first}{}COMMIT\n", rules.collect::<String>())
}
