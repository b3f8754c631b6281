//! The helper, from outside: what it answers, and what it withstands.

mod abuse;
mod bounds;
mod service;
mod systemd;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ipt2bpf_umh::client::{Answer, Client, ClientError};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Three rules, in two tables.
const RULES: &str = "*raw\n-A PREROUTING -s 192.0.2.7 -j DROP\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n\
                     -A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -p udp -j DROP\nCOMMIT\n";

/// A helper of a test's own, which ends with it.
struct Helper {
    child: Child,
    dir: TempDir,
}

impl Helper {
    /// One that can be spoken to.
    fn start(arguments: &[&str]) -> Helper {
        let dir = tempfile::tempdir().unwrap();
        // So that other users come as far as the socket.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .arg("serve")
            .arg("--socket")
            .arg(dir.path().join("socket"))
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let helper = Helper { child, dir };
        let start = Instant::now();
        while Client::connect(&helper.socket()).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "it does not listen"
            );
            sleep(Duration::from_millis(10));
        }
        helper
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket()).unwrap()
    }

    /// A call on a connection of its own.
    fn call(&self, method: &str, parameters: &Value) -> Result<Answer, ClientError> {
        self.client()
            .call(&format!("io.ipt2bpf.{method}"), parameters)
    }

    /// The name of the error and its parameters.
    fn error(&self, method: &str, parameters: &Value) -> (String, Value) {
        match self.call(method, parameters) {
            Err(ClientError::Failed(failure)) => (failure.error, failure.parameters),
            other => panic!("{method}: {other:?}"),
        }
    }

    /// A line of the status of a process (proc(5)), without its name.
    fn status(pid: u32, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_owned())
    }

    /// Its compiling processes.
    fn compilers(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let parent = self.child.id().to_string();
        numbers
            .filter(|&pid| Helper::status(pid, "PPid:") == Some(parent.clone()))
            .collect()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // A helper that has ended cannot be killed, and a test has said so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The parameter `rules`, from one text.
fn rules(text: &str) -> Value {
    json!({ "texts": [text] })
}

/// Rules that are all different, with a word in them.
fn many_rules(number: usize, word: &str) -> String {
    let rules = (0..number).map(|rule| {
        let (high, low, port) = (rule / 256 % 256, rule % 256, rule % 65535 + 1);
        format!("-A INPUT -s 10.1.{high}.{low}/32 -p tcp -m tcp --dport {port} -m comment --comment {word} -j DROP\n")
    });
    format!("*filter\n{}COMMIT\n", rules.collect::<String>())
}
