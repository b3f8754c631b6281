//! What it costs to let the helper compile: 100 rules through its socket, beside the same in this process.

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};
use ipt2bpf_umh::client::Client;
use serde_json::json;

const RULES: usize = 100;
const ROUNDS: usize = 60;

/// Ends the helper with the measurement.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("socket");
    let helper = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
        .arg("serve")
        .arg("--socket")
        .arg(&socket)
        .spawn();
    let _helper = Helper(helper.expect("the helper starts"));
    let start = Instant::now();
    let mut client = loop {
        match Client::connect(&socket) {
            Ok(client) => break client,
            Err(_) if start.elapsed() < Duration::from_secs(10) => sleep(Duration::from_millis(5)),
            Err(error) => panic!("the helper does not listen: {error}"),
        }
    };
    let mut through_socket = |text: &str, memfd: bool| {
        let parameters = json!({ "rules": { "texts": [text] }, "memfd": memfd });
        let answer = client.call("io.ipt2bpf.Compile", &parameters);
        answer.expect("the rules compile");
    };
    // The compiler starts, and pages come in.
    through_socket(&text(0), false);
    in_process(&text(0));
    let mut figures = [const { Vec::new() }; 4];
    // In turns, so that what else the machine does concerns all.
    for round in 1..=ROUNDS {
        let (first, second) = (text(2 * round), text(2 * round + 1));
        figures[0].push(timed(|| in_process(&first)));
        figures[1].push(timed(|| through_socket(&first, false)));
        figures[2].push(timed(|| through_socket(&second, true)));
        figures[3].push(timed(|| through_socket(&second, true)));
    }
    let medians = figures.map(|mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    });
    let names = [
        "in this process",
        "socket, base64",
        "socket, memfd",
        "socket, seen before",
    ];
    println!("{RULES} rules to an object, median of {ROUNDS}:");
    for (name, median) in names.iter().zip(medians) {
        let ratio = median.as_secs_f64() / medians[0].as_secs_f64();
        println!(
            "{name:20} {:9.3} ms  x {ratio:.2}",
            median.as_secs_f64() * 1e3
        );
    }
}

/// Rules that no other round has.
fn text(round: usize) -> String {
    let rules = (0..RULES).map(|rule| {
        let port = rule + 1;
        format!("-A INPUT -s 10.{round}.{rule}.0/24 -p tcp -m tcp --dport {port} -j DROP\n")
    });
    format!("*filter\n{}COMMIT\n", rules.collect::<String>())
}

fn in_process(text: &str) {
    let mut sources = Sources::default();
    let id = sources.add("rules", text);
    let parsed = parse(&sources, id, &ParseOptions::default());
    let compiled = compile(&parsed.rulesets, &Options::default());
    std::hint::black_box(compiled.expect("the rules compile").object);
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
