//! What clients may do and cost, and what becomes of a compiler that fails.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Helper, RULES, many_rules, rules};

#[test]
fn the_compiler_has_no_rights() {
    let helper = Helper::start(&[]);
    helper
        .call("Compile", &json!({ "rules": rules(RULES) }))
        .unwrap();
    let compilers = helper.compilers();
    assert_eq!(compilers.len(), 1, "{compilers:?}");
    let status = |name| Helper::status(compilers[0], name).unwrap();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&status(set), 16), Ok(0), "{set}");
    }
    // A filter, and no way to more.
    assert_eq!(
        (status("Seccomp:"), status("NoNewPrivs:")),
        ("2".into(), "1".into())
    );
    if nix::unistd::geteuid().is_root() {
        assert_eq!(status("Uid:"), "65534\t65534\t65534\t65534");
        assert_eq!(status("Groups:"), "");
        assert_eq!(u64::from_str_radix(&status("CapBnd:"), 16), Ok(0));
        let files = fs::read_dir(format!("/proc/{}/fd", compilers[0])).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["0", "1", "2"]);
    }
}

#[test]
fn a_compiler_that_is_killed_is_an_error_to_one_client() {
    let helper = Helper::start(&[]);
    let parameters = json!({ "rules": rules(RULES) });
    helper.call("Compile", &parameters).unwrap();
    let compilers = helper.compilers();
    for pid in &compilers {
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(killed.unwrap().success());
    }
    // What is kept needs no compiler.
    helper.call("Compile", &parameters).unwrap();
    let other = json!({ "rules": rules(&RULES.replace("22", "23")) });
    assert_eq!(helper.error("Compile", &other).0, "io.ipt2bpf.CompilerDied");
    helper.call("Compile", &other).unwrap();
    assert!(!compilers.contains(&helper.compilers()[0]));
}

#[test]
fn a_compilation_is_bounded_in_time_and_memory() {
    let large = json!({ "rules": rules(&many_rules(60_000, "x")) });
    let small = json!({ "rules": rules(RULES) });
    let helper = Helper::start(&["--time", "1"]);
    let start = Instant::now();
    let (error, parameters) = helper.error("Compile", &large);
    assert_eq!(error, "io.ipt2bpf.TimedOut");
    assert_eq!(parameters["seconds"], 1);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    helper.call("Compile", &small).unwrap();
    let helper = Helper::start(&["--memory", "128", "--time", "600"]);
    assert_eq!(helper.error("Compile", &large).0, "io.ipt2bpf.CompilerDied");
    helper.call("Compile", &small).unwrap();
}

#[test]
fn a_request_is_bounded_in_size() {
    let helper = Helper::start(&["--request", "1"]);
    let large = json!({ "rules": rules(&"#".repeat(2 << 20)) });
    let (error, parameters) = helper.error("Compile", &large);
    assert_eq!(
        (error.as_str(), &parameters["limit"]),
        ("io.ipt2bpf.TooLarge", &json!(1 << 20))
    );
}

#[test]
fn only_root_and_one_group_load_and_attach() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let helper = Helper::start(&["--group", "daemon"]);
    fs::set_permissions(helper.socket(), Permissions::from_mode(0o666)).unwrap();
    let call = |group: &str, method: &str| -> Result<Value, String> {
        // From here, because others may not be able to come as far as the program.
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", group])
            .args([
                "/usr/bin/python3",
                "-c",
                PYTHON,
                &helper.socket().display().to_string(),
                method,
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let reply: Value = serde_json::from_str(&said).map_err(|_| format!("{output:?}"))?;
        match reply["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(reply["parameters"].clone()),
        }
    };
    let none = "--clear-groups";
    assert_eq!(call(none, "GetCapabilities").unwrap()["privileged"], false);
    let denied = Err("org.varlink.service.PermissionDenied".to_owned());
    for method in [
        "Load",
        "Attach",
        "Replace",
        "Detach",
        "List",
        "Counters",
        "Monitor",
        "SocketOption",
    ] {
        assert_eq!(call(none, method), denied, "{method}");
    }
    // The number of the group `daemon` on Debian and its kin (base-passwd).
    let daemon = "--groups=1";
    assert_eq!(call(daemon, "GetCapabilities").unwrap()["privileged"], true);
    let load = call(daemon, "Load");
    assert_eq!(load, Err("org.varlink.service.InvalidParameter".to_owned()));
}

/// Calls a method without parameters and prints the reply.
const PYTHON: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{\"method\": \"io.ipt2bpf.%s\"}\\0' % sys.argv[2].encode())
reply = b''
while not reply.endswith(b'\\0'):
    reply += s.recv(65536)
print(reply[:-1].decode())
";
