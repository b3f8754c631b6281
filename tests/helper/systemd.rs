//! Started as systemd starts it: with a socket that is there already, and somebody who waits to hear that it is
//! ready.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipt2bpf_umh::client::Client;
use serde_json::json;

/// Listens, and becomes the helper with the socket as descriptor 3 (sd_listen_fds(3)).
const MANAGER: &str = "
import os, socket, sys
program, path = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(program, [program, 'serve', '--socket', '/nonesuch/socket'])
";

#[test]
fn a_socket_is_taken_over_and_readiness_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let notify = dir.path().join("notify");
    let told = UnixDatagram::bind(&notify).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let socket = dir.path().join("socket");
    let mut helper = Command::new("python3")
        .args(["-c", MANAGER, env!("CARGO_BIN_EXE_ipt2bpf")])
        .arg(&socket)
        .env("NOTIFY_SOCKET", &notify)
        .spawn()
        .unwrap();
    let mut message = [0; 64];
    let read = told.recv(&mut message);
    let answer = Client::connect(&socket)
        .map(|mut client| client.call("io.ipt2bpf.GetCapabilities", &json!({})));
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert_eq!(&message[..read.unwrap()], b"READY=1\n");
    assert_eq!(
        answer.unwrap().unwrap().parameters["version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn the_unit_is_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/systemd/ipt2bpf.service");
    // Exposure in tenths; 96 is that of a service without any hardening.
    let analysis = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=30"])
        .arg(&unit)
        .output();
    match analysis {
        Err(error) => eprintln!("skipped: systemd-analyze: {error}"),
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
}
