//! The helper with rights: loading, attaching, counters and log, for clients of any kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ipt2bpf_umh::client::{Answer, Client, ClientError};
use serde_json::{Value, json};

use crate::places::{Cgroup, in_kernel};
use crate::talk::{connects, listen};

/// A helper that ends with the value.
pub struct Helper {
    child: Child,
    pub socket: PathBuf,
}

impl Helper {
    pub fn start(dir: &Path) -> Result<Helper> {
        let socket = dir.join("helper");
        let child = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .arg("serve")
            .arg("--socket")
            .arg(&socket)
            .spawn()?;
        let helper = Helper { child, socket };
        let start = Instant::now();
        while Client::connect(&helper.socket).is_err() {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "it does not listen"
            );
            sleep(Duration::from_millis(10));
        }
        Ok(helper)
    }

    fn call(&self, method: &str, parameters: &Value) -> Result<Answer, ClientError> {
        let mut client = Client::connect(&self.socket)?;
        client.call(&format!("io.ipt2bpf.{method}"), parameters)
    }

    fn error(&self, method: &str, parameters: &Value) -> Result<String> {
        match self.call(method, parameters) {
            Err(ClientError::Failed(failure)) => Ok(failure.error),
            other => bail!("{method}: {other:?}"),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn dropping(port: u16) -> Value {
    json!({ "texts": [format!("*filter\n-A INPUT -p tcp --dport {port} -j LOG --log-prefix \"port {port} \"\n\
                               -A INPUT -p tcp --dport {port} -j DROP\nCOMMIT\n")] })
}

#[test]
fn a_client_without_our_code_compiles_and_bpftool_loads() {
    in_kernel(|dir| {
        for tool in ["bpftool", "python3"] {
            if Command::new(tool).arg("--version").output().is_err() {
                eprintln!("skipped: needs {tool}");
                return Ok(());
            }
        }
        let helper = Helper::start(dir)?;
        fs::write(
            dir.join("rules"),
            "*filter\n-A INPUT -p tcp --dport 22 -j DROP\nCOMMIT\n",
        )?;
        let script = "
import base64, json, socket, sys
path, rules, out = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.connect(path)
call = {'method': 'io.ipt2bpf.Compile', 'parameters': {'rules': {'texts': [open(rules).read()]}}}
s.sendall(json.dumps(call).encode() + b'\\0')
reply = b''
while not reply.endswith(b'\\0'):
    reply += s.recv(1 << 16)
open(out, 'wb').write(base64.b64decode(json.loads(reply[:-1])['parameters']['object']))
";
        let object = dir.join("object");
        let written = Command::new("python3")
            .args(["-c", script])
            .args([&helper.socket, &dir.join("rules"), &object])
            .output()?;
        ensure!(written.status.success(), "{written:?}");
        let loaded = Command::new("bpftool")
            .args(["prog", "loadall"])
            .arg(&object)
            .arg("/sys/fs/bpf/loaded")
            .output()?;
        ensure!(loaded.status.success(), "{loaded:?}");
        let mut pins: Vec<_> = fs::read_dir("/sys/fs/bpf/loaded")?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        pins.sort();
        assert_eq!(pins, ["ipt2bpf_egress", "ipt2bpf_ingress", "ipt2bpf_xdp"]);
        Ok(())
    });
}

#[test]
fn programs_are_attached_replaced_and_detached() {
    in_kernel(|dir| {
        let helper = Helper::start(dir)?;
        let cgroup = Cgroup::new("serve")?;
        let place = json!({ "cgroup": cgroup.name() });
        let _listeners = cgroup.inside(|| listen(&["127.0.0.1"], &[2301, 2302]))??;
        let at = json!({ "place": place });
        let with = |port| json!({ "place": place, "rules": dropping(port) });
        assert_eq!(
            helper.error("Replace", &with(2301))?,
            "io.ipt2bpf.NothingAttached"
        );
        helper.call("Attach", &with(2301))?;
        assert!(!connects("127.0.0.1", 2301) && connects("127.0.0.1", 2302));
        assert_eq!(
            helper.error("Attach", &with(2301))?,
            "io.ipt2bpf.AlreadyAttached"
        );
        let counted = helper.call("Counters", &at)?.parameters["rules"].to_string();
        assert!(counted.contains("--dport 2301 -j DROP"), "{counted}");
        assert!(
            !counted.contains("[0:0] -A INPUT -p tcp -m tcp --dport 2301"),
            "{counted}"
        );
        helper.call("Replace", &with(2302))?;
        assert!(connects("127.0.0.1", 2301) && !connects("127.0.0.1", 2302));
        let listed = helper.call("List", &json!({}))?.parameters;
        let rows = listed["attachments"].as_array().map_or(0, Vec::len);
        assert_eq!(rows, 2, "{listed}");
        helper.call("Detach", &at)?;
        assert!(connects("127.0.0.1", 2302));
        assert_eq!(helper.error("Counters", &at)?, "io.ipt2bpf.NothingAttached");
        Ok(())
    });
}

#[test]
fn loaded_programs_come_as_descriptors() {
    in_kernel(|dir| {
        let helper = Helper::start(dir)?;
        let answer = helper.call("Load", &json!({ "rules": dropping(1) }))?;
        let programs = answer.parameters["programs"].as_array().cloned();
        assert_eq!(programs.map(|it| it.len()), Some(3));
        let names: Vec<String> = answer
            .descriptors
            .iter()
            .map(|descriptor| {
                use std::os::fd::AsRawFd;
                let number = descriptor.as_raw_fd();
                let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
                let kind = info.lines().find(|line| line.starts_with("prog_type:"));
                Ok(kind.unwrap_or_default().replace('\t', " "))
            })
            .collect::<Result<_>>()?;
        // BPF_PROG_TYPE_CGROUP_SKB is 8, BPF_PROG_TYPE_XDP is 6.
        assert_eq!(names, ["prog_type: 8", "prog_type: 8", "prog_type: 6"]);
        Ok(())
    });
}

#[test]
fn counters_and_log_lines_are_followed() {
    in_kernel(|dir| {
        let helper = Helper::start(dir)?;
        let cgroup = Cgroup::new("follow")?;
        let place = json!({ "cgroup": cgroup.name() });
        let _listeners = cgroup.inside(|| listen(&["127.0.0.1"], &[2401]))??;
        helper.call(
            "Attach",
            &json!({ "place": place, "rules": dropping(2401) }),
        )?;
        let mut client = Client::connect(&helper.socket)?;
        let parameters = json!({ "place": place, "interval": 300 });
        client.call_for_more("io.ipt2bpf.Monitor", &parameters)?;
        let first = client.receive()?;
        assert!(first.continues);
        let rules = first.parameters["rules"].to_string();
        assert!(
            rules.contains("[0:0] -A INPUT -p tcp -m tcp --dport 2401 -j DROP"),
            "{rules}"
        );
        assert!(!connects("127.0.0.1", 2401));
        let mut log = String::new();
        for _ in 0..10 {
            let next = client.receive()?.parameters;
            log += &next["log"].to_string();
            let counted = !next["rules"].to_string().contains("[0:0] -A INPUT");
            if counted && log.contains("port 2401 IN=lo") {
                return Ok(());
            }
        }
        bail!("neither counted nor logged: {log}")
    });
}
