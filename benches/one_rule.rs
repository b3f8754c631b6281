//! What it costs to change one rule of many on an attached filter, beside looking at the rules and beside
//! compiling all of them. Needs root and a cgroup v2 hierarchy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

    /// How long a subcommand takes on the filter.
    fn timed(&self, subcommand: &str, words: &[&str]) -> Duration {
        let start = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .arg(subcommand)
            .arg("--cgroup")
            .arg(&self.0)
            .args(words)
            .stdout(Stdio::null())
            .status();
        let time = start.elapsed();
        assert!(
            status.is_ok_and(|it| it.success()),
            "{subcommand} {words:?}"
        );
        time
    }

    fn iptables(&self, words: &str) -> Duration {
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

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules");
    fs::write(&rules, text()).expect("a file");
    let filter = Filtered::new(&rules);
    let whole = rules.display().to_string();
    let mut times = [const { Vec::new() }; 6];
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
    }
    let medians = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    });
    let names = [
        "-C, which looks only",
        "-A",
        "-I",
        "-R",
        "-D",
        "replace, all anew",
    ];
    println!("one rule of {RULES}, median of {ROUNDS}:");
    for (name, median) in names.iter().zip(medians) {
        let (looking, anew) = (median / medians[0], medians[5] / median);
        println!("{name:21} {median:8.1} ms  x {looking:.2} of looking, all anew x {anew:.1}");
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
