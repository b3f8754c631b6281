//! The socket options of iptables, byte by byte: the kernel's answers, beside those under `ipt2bpf run`, by
//! bpfilter's protocol and by the socket.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use ipt2bpf_difftest::netns::isolated;

use crate::places::{Cgroup, ipt2bpf, run};
use crate::run::with_iptables;
use crate::serve::Helper;

const RULES: &str = "*filter\n:INPUT DROP [3:300]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [1:2]\n:own - [0:0]\n:unused - [0:0]\n\
                     [4:400] -A INPUT -p tcp -m tcp --dport 22 -j own\n\
                     [5:500] -A INPUT -i eth+ -m conntrack --ctstate NEW,RELATED -j ACCEPT\n\
                     [6:600] -A INPUT -p udp -m multiport ! --dports 53,1000:2000 -g own\n\
                     [7:700] -A FORWARD -m limit --limit 3/sec -j DROP\n\
                     [8:800] -A own -m comment --comment \"a b\"\n\
                     [9:900] -A own -m mark --mark 0x1/0x3 -j RETURN\nCOMMIT\n";

/// What the script says.
fn talk(mut command: Command, words: &[&str]) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/options.py");
    let output = command.arg("python3").arg(script).args(words).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn plain() -> Command {
    Command::new("env")
}

/// What the kernel says, after a restore of the rules.
fn kernel(families: &str, v4: &str, v6: &str) -> Result<String> {
    isolated(|| {
        run("iptables-legacy-restore", &format!("-c {v4}"))?;
        run("ip6tables-legacy-restore", &format!("-c {v6}"))?;
        talk(plain(), &[families, "kernel"])
    })
}

fn assert_same(expected: &str, found: &str) {
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

#[test]
fn every_byte_and_every_error_is_the_kernels() {
    with_iptables(|dir| {
        let path = |name: &str, text: &str| -> Result<String> {
            let path = dir.join(name);
            fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let (v4, v6) = (path("v4", RULES)?, path("v6", RULES)?);
        let both = kernel("v4,v6", &v4, &v6)?;
        let only = kernel("v4", &v4, &v6)?;
        let cgroup = Cgroup::new("options")?;
        let name = cgroup.name();
        let restore = || -> Result<()> {
            let run = format!("run --cgroup {name} --");
            ipt2bpf(&format!("{run} iptables-legacy-restore -c {v4}"))?;
            ipt2bpf(&format!("{run} ip6tables-legacy-restore -c {v6}"))?;
            Ok(())
        };

        restore()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"));
        command.args(["run", "--cgroup", &name, "--"]);
        assert_same(&both, &talk(command, &["v4,v6", "kernel"])?);

        restore()?;
        let program = env!("CARGO_BIN_EXE_ipt2bpf");
        assert_same(&only, &talk(plain(), &["v4", "mbox", program, &name])?);

        restore()?;
        let helper = Helper::start(dir)?;
        let socket = helper.socket.display().to_string();
        assert_same(&both, &talk(plain(), &["v4,v6", "socket", &socket, &name])?);
        Ok(())
    });
}
