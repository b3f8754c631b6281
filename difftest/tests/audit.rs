//! AUDIT's records against those that the kernel's audit subsystem sends to whoever listens.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_difftest::compare::Subject;
use ipt2bpf_difftest::forms;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::log::Words;
use ipt2bpf_difftest::netfilter::{Netfilter, Route};
use ipt2bpf_difftest::netns;
use ipt2bpf_difftest::subjects::{self, program::Program};
use ipt2bpf_parser::ruleset::Family;

/// Prints the records of packets until its standard input ends. The subsystem is switched on meanwhile, for one
/// caller at a time.
const SCRIPT: &str = r#"
import fcntl, select, socket, struct, sys
NETLINK_AUDIT, READ_LOG = 9, 1
GET, SET, PACKET = 1000, 1001, 1324
REQUEST, ENABLED = 1, 1

lock = open('/tmp/ipt2bpf-audit.lock', 'w')
fcntl.flock(lock, fcntl.LOCK_EX)
control = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)

def ask(kind, body=b''):
    control.send(struct.pack('IHHII', 16 + len(body), kind, REQUEST, 1, 0) + body)

def switch(on):
    ask(SET, struct.pack('11I', ENABLED, on, *[0] * 9))

ask(GET)
reply = control.recv(8192)
if struct.unpack_from('IH', reply)[1] != GET:
    sys.exit('the audit subsystem does not answer')
was_on = struct.unpack_from('II', reply, 16)[1]
records = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
records.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
records.bind((0, READ_LOG))
if not was_on:
    switch(1)
try:
    print('ready', flush=True)
    inputs, patience = [records, sys.stdin], None
    while True:
        readable = select.select(inputs, [], [], patience)[0]
        if not readable:
            break
        if records in readable:
            data = records.recv(1 << 16)
            if struct.unpack_from('IH', data)[1] == PACKET:
                print(data[16:].rstrip(b'\0').decode(), flush=True)
        elif not sys.stdin.read(1):
            inputs, patience = [records], 0.5
finally:
    if not was_on:
        switch(0)
"#;

/// A process that listens.
struct Listener {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Listener {
    fn start() -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("python3")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a pipe")?;
        let mut listener = Listener {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        };
        let mut line = String::new();
        listener.stdout.read_line(&mut line)?;
        ensure!(
            line == "ready\n",
            "no records of the audit subsystem can be had"
        );
        Ok(listener)
    }

    /// What it heard of packets with a mark, without time and serial number.
    fn heard(mut self, mark: &str) -> Result<Vec<String>> {
        drop(self.stdin.take());
        let mut text = String::new();
        self.stdout.read_to_string(&mut text)?;
        let records = text.lines().filter_map(|line| {
            let (_, record) = line.split_once("): ")?;
            record.starts_with(mark).then(|| record.to_owned())
        });
        Ok(records.collect())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.child.wait().ok();
    }
}

/// Packets of every form meet the rules of both; gives the program's records.
fn told(family: Family, mark: u32) -> Result<Vec<String>> {
    let rules = format!(
        "*mangle\n\
         -A PREROUTING -j MARK --set-mark {mark:#x}\n\
         -A PREROUTING -j AUDIT --type accept\n\
         -A PREROUTING ! -p udp -j AUDIT --type drop\n\
         -A PREROUTING -p udp -m udp --dport 53 -j AUDIT --type reject\n\
         COMMIT\n"
    );
    netns::isolated(|| {
        let host = Host::new(&["eth0".into()], &Routing::AllLocal)?;
        let netfilter = Netfilter::new(&host, family)?;
        netfilter.load(&rules)?;
        let ruleset = subjects::ruleset(family, &rules)?;
        let mut program = Program::new(&ruleset, Hook::CgroupIngress, &Sets::default())?;
        let words = Words::new(&[ruleset])?;
        for number in 0..6 {
            let payload = forms::ports(1000, 53, 24 + usize::from(number));
            for frame in forms::of(family, number, &payload) {
                host.inject(&frame)?;
                program.verdict(&frame, &Route::Local)?;
                // The subsystem keeps few records that it has not sent yet.
                sleep(Duration::from_millis(2));
            }
        }
        let lines = words.read(&mut program.ring()?)?.into_iter();
        let records = lines.map(|(_, line)| {
            let record = line
                .split_once("type=1324 ")
                .context("no record of a packet")?;
            Ok(record.1.to_owned())
        });
        records.collect()
    })
}

#[test]
fn records_are_the_kernels() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    for (family, bit) in [(Family::V4, 1), (Family::V6, 2)] {
        let mark = std::process::id() << 4 | bit;
        let listener = match Listener::start() {
            Ok(listener) => listener,
            Err(reason) => return eprintln!("skipped: {reason:#}"),
        };
        let told = told(family, mark).expect("records");
        let heard = listener
            .heard(&format!("mark={mark:#x} "))
            .expect("records");
        assert_eq!(told, heard);
        assert!(told.len() > 80, "{}", told.len());
    }
}
