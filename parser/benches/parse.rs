//! How fast 100,000 rules are read and printed, in rules per second, and, as root with iptables installed,
//! the ratio to `iptables-legacy-restore --test` on the same text in the same run.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, parse};

const RULES: usize = 100_000;
const ROUNDS: usize = 7;

/// A large ruleset as firewalls have them: chains, counters, comments, several matches.
fn text() -> String {
    let mut text =
        String::from("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n");
    for chain in 0..100 {
        text += &format!(":chain-{chain} - [0:0]\n");
    }
    for number in 0..RULES {
        let (chain, a, b) = (number % 100, number / 256 % 256, number % 256);
        text += &match number % 4 {
            0 => format!(
                "[12:3456] -A chain-{chain} -s 10.{a}.{b}.0/24 -i eth0 -p tcp -m tcp --dport {b} -j ACCEPT\n"
            ),
            1 => format!(
                "[0:0] -A chain-{chain} -d 192.0.{b}.7/32 -p udp -m multiport --dports 53,123,{a} -m comment \
                 --comment \"number {number}\" -j DROP\n"
            ),
            2 => format!(
                "[7:99] -A chain-{chain} ! -s 172.16.{a}.{b}/32 -p tcp -m tcp --tcp-flags SYN,ACK SYN -j RETURN\n"
            ),
            _ => format!(
                "[1:2] -A chain-{chain} -p icmp -m icmp --icmp-type 8 -m limit --limit 10/sec -j ACCEPT\n"
            ),
        };
    }
    text + "COMMIT\n"
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed(mut work: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    median(rounds.collect())
}

/// One run of the real tool on the text, in a network namespace of its own; none where that cannot be.
fn restore_test(text: &str) -> Option<Duration> {
    let start = Instant::now();
    let mut child = Command::new("unshare")
        .args(["--net", "iptables-legacy-restore", "--test"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    child.wait().ok()?.success().then(|| start.elapsed())
}

fn rate(time: Duration) -> f64 {
    RULES as f64 / time.as_secs_f64() / 1000.0
}

fn main() {
    let text = text();
    let mut sources = Sources::default();
    let id = sources.add("bench", text.clone());
    let options = ParseOptions {
        family: Some(Family::V4),
        ..ParseOptions::default()
    };
    let parsed = parse(&sources, id, &options);
    assert!(
        parsed.diagnostics.is_empty(),
        "{:?}",
        parsed.diagnostics.first()
    );
    let reading = timed(|| {
        std::hint::black_box(parse(&sources, id, &options));
    });
    let printing = timed(|| {
        std::hint::black_box(parsed.rulesets[0].print(Counts::All));
    });
    println!("{RULES} rules, {:.1} MB", text.len() as f64 / 1e6);
    println!(
        "parse: {:.0} thousand rules/s ({reading:.0?})",
        rate(reading)
    );
    println!(
        "print: {:.0} thousand rules/s ({printing:.0?})",
        rate(printing)
    );
    match restore_test(&text) {
        Some(first) => {
            let rounds = std::iter::once(first).chain((1..3).filter_map(|_| restore_test(&text)));
            let tool = median(rounds.collect());
            let ratio = tool.as_secs_f64() / reading.as_secs_f64();
            println!(
                "iptables-legacy-restore --test: {tool:.0?}, {ratio:.1} times as long as parse"
            );
        }
        None => {
            println!("iptables-legacy-restore --test: not compared, it needs root and iptables")
        }
    }
}
