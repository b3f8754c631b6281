//! Hostile clients beside a good one: random and mutated requests, half of them, floods of connections, readers that
//! do not read. The good one is answered within a bound, memory stays within another, and the service lives.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{Helper, RULES, many_rules, rules};

/// How long a good client waits at most, on a machine that has other things to do as well.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most memory that the service may ever have had, in KiB: its budget for requests of a megabyte is 8 MiB,
/// earlier answers take up to 64.
const MEMORY: u64 = 160 << 10;

#[test]
fn some_hundred_hostile_requests_harm_nobody() {
    abuse(400);
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_hostile_requests_harm_nobody() {
    abuse(10_000);
}

/// xorshift (G. Marsaglia, 2003).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }
}

/// Requests to begin with.
fn seeds() -> Vec<Vec<u8>> {
    let call = |method: &str, parameters| {
        let call = json!({ "method": format!("io.ipt2bpf.{method}"), "parameters": parameters });
        call.to_string().into_bytes()
    };
    let blob = "ZmlsdGVyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAOAAAABAAAAHgCAAA=";
    vec![
        call("GetCapabilities", json!({})),
        call("Compile", json!({ "rules": rules(RULES), "memfd": true })),
        call("Check", json!({ "rules": rules(RULES) })),
        call(
            "Explain",
            json!({ "rules": rules(RULES), "packets": ["tcp 1.1.1.1:1 > 2.2.2.2:2"] }),
        ),
        call("Decode", json!({ "family": "v4", "blob": blob })),
        call("Counters", json!({ "place": { "cgroup": "/nonesuch" } })),
        call(
            "SocketOption",
            json!({ "place": { "cgroup": "/nonesuch" }, "family": "v6", "set": true,
            "option": 64, "payload": blob }),
        ),
    ]
}

fn mutated(chance: &mut Chance, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut request = seeds[chance.below(seeds.len())].clone();
    for _ in 0..chance.below(8) {
        let at = chance.below(request.len());
        match chance.below(6) {
            0 => request[at] = chance.below(256) as u8,
            1 => request[at] ^= 1 << chance.below(8),
            2 => request.insert(at, chance.below(256) as u8),
            3 => {
                request.remove(at);
            }
            4 => request.truncate(at),
            _ => {
                let piece = request[at..].to_vec();
                request.extend(piece);
            }
        }
        if request.is_empty() {
            request = (0..chance.below(100))
                .map(|_| chance.below(256) as u8)
                .collect();
            request.push(b'{');
        }
    }
    request
}

fn abuse(number: usize) {
    let mut helper = Helper::start(&[
        "--clients",
        "24",
        "--patience",
        "2",
        "--request",
        "1",
        "--time",
        "5",
    ]);
    let socket = helper.socket();
    let done = AtomicBool::new(false);
    let connect = || UnixStream::connect(&socket).ok();
    let worst = thread::scope(|scope| {
        // Connections that say nothing, or half of something, as many as there come.
        scope.spawn(|| {
            let mut held = Vec::new();
            let mut chance = Chance(1);
            while !done.load(Ordering::Relaxed) {
                if let Some(mut stream) = connect() {
                    let half = &br#"{"method":"io.ipt2bpf.Compile","parameters":{"rules":{"#[..];
                    // It may be cut off at any time.
                    let _ = stream.write_all(&half[..chance.below(half.len())]);
                    held.push(stream);
                }
                if held.len() > 200 {
                    held.drain(..100);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        // Readers that ask for much, and do not read.
        scope.spawn(|| {
            let mut held = Vec::new();
            let large = json!({ "rules": rules(&many_rules(60, "held")) });
            let call = json!({ "method": "io.ipt2bpf.Compile", "parameters": large });
            let call = format!("{call}\0").into_bytes();
            while !done.load(Ordering::Relaxed) {
                if let Some(mut stream) = connect() {
                    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
                    for _ in 0..20 {
                        if stream.write_all(&call).is_err() {
                            break;
                        }
                    }
                    held.push(stream);
                }
                if held.len() > 10 {
                    held.remove(0);
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        // Senders of much that never ends.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Some(mut stream) = connect() {
                    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
                    let _ = stream.write_all(&vec![b' '; 900 << 10]);
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        let hostile = scope.spawn(|| {
            let (mut chance, seeds) = (Chance(7), seeds());
            let mut stream = None;
            for _ in 0..number {
                let Some(open) = stream.take().or_else(connect) else {
                    continue;
                };
                stream = exchange(open, &mutated(&mut chance, &seeds));
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut worst = Duration::ZERO;
        let mut round = 0;
        while !hostile.is_finished() {
            round += 1;
            let parameters = json!({ "rules": rules(&many_rules(3, &format!("good{round}"))) });
            let start = Instant::now();
            // A flood may cut off who was slower than it; who comes again is served.
            while let Err(error) = helper.call("Compile", &parameters) {
                assert!(start.elapsed() < PATIENCE, "{error}");
            }
            worst = worst.max(start.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        done.store(true, Ordering::Relaxed);
        worst
    });
    assert!(worst < PATIENCE, "{worst:?}");
    assert!(
        helper.child.try_wait().unwrap().is_none(),
        "the service has ended"
    );
    let memory = Helper::status(helper.child.id(), "VmHWM:").unwrap();
    let memory: u64 = memory.split(' ').next().unwrap().parse().unwrap();
    println!(
        "{number} hostile requests: a good client waited {worst:?} at most; memory {memory} KiB"
    );
    assert!(memory < MEMORY, "{memory} KiB");
    helper.call("GetCapabilities", &json!({})).unwrap();
}

/// Sends a request and waits for a reply; gives back the connection if there was one.
fn exchange(mut stream: UnixStream, request: &[u8]) -> Option<UnixStream> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    stream.write_all(&[0]).ok()?;
    let mut chunk = [0; 65536];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return None,
            Ok(read) if chunk[..read].ends_with(&[0]) => return Some(stream),
            Ok(_) => {}
            Err(error) => {
                let kind = error.kind();
                assert_ne!(kind, std::io::ErrorKind::WouldBlock, "no reply and no end");
                return None;
            }
        }
    }
}
