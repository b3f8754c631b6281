//! Seeing what rules do.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::places::{Cgroup, both_families, in_kernel, ipt2bpf};
use crate::talk::{LOOPBACKS, connects, listen};

/// The value of the only sample whose line holds all of these.
fn sample(metrics: &str, holds: &[&str]) -> Result<u64> {
    let mut lines = metrics
        .lines()
        .filter(|line| holds.iter().all(|text| line.contains(text)));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        anyhow::bail!("{holds:?} is not on one line: {metrics}");
    };
    let (_, value) = line.rsplit_once(' ').unwrap_or_default();
    Ok(value.parse()?)
}

#[test]
fn metrics_tell_what_rules_have_counted() {
    in_kernel(|dir| {
        let rules = both_families(
            dir,
            "rules",
            "-A INPUT -p tcp --dport 7001 -m comment --comment \"a \\\"quote\\\"\" -j ACCEPT\n\
             -A INPUT -p tcp --dport 7002 -j DROP\n",
        )?;
        let cgroup = Cgroup::new("metrics")?;
        let _inside = cgroup.inside(|| listen(&LOOPBACKS, &[7001, 7002]))??;
        ipt2bpf(&format!("attach --cgroup {} {rules}", cgroup.name()))?;
        for host in LOOPBACKS {
            ensure!(connects(host, 7001) && !connects(host, 7002), "{host}");
        }
        let metrics = ipt2bpf("metrics")?;
        let place = format!("place=\"{}\"", cgroup.name());
        for family in ["IPv4", "IPv6"] {
            let family = format!("family=\"{family}\"");
            let drops = [
                "ipt2bpf_packets_total{",
                &place,
                &family,
                "chain=\"INPUT\",rule=\"2\",action=\"DROP\"",
            ];
            ensure!(sample(&metrics, &drops)? > 0, "{metrics}");
            let untouched = [
                "ipt2bpf_packets_total{",
                &family,
                "chain=\"FORWARD\",rule=\"policy\",action=\"ACCEPT\"",
            ];
            ensure!(sample(&metrics, &untouched)? == 0, "{metrics}");
            let quoted = [
                "ipt2bpf_bytes_total{",
                &family,
                r#"--comment \"a \\\"quote\\\"\""#,
            ];
            ensure!(sample(&metrics, &quoted)? > 40, "{metrics}");
        }
        for hook in ["cgroup_skb/ingress", "cgroup_skb/egress"] {
            let hook = format!("hook=\"{hook}\"");
            ensure!(
                sample(&metrics, &["ipt2bpf_attached{", &place, &hook])? == 1,
                "{metrics}"
            );
        }
        // What Prometheus reads is well formed: a comment, or a name, labels and a number.
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_default();
            ensure!(
                value.parse::<u64>().is_ok() && sample.ends_with('}'),
                "{line}"
            );
        }
        ensure!(
            ipt2bpf("save -c")? == ipt2bpf("show -c")?,
            "save and show differ"
        );
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        ensure!(ipt2bpf("metrics")?.is_empty(), "nothing is attached");
        Ok(())
    });
}

#[test]
fn top_draws_rules_on_a_terminal_and_ends_when_told() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", "-A INPUT -p tcp --dport 7002 -j DROP\n")?;
        let cgroup = Cgroup::new("top")?;
        ipt2bpf(&format!("attach --cgroup {} {rules}", cgroup.name()))?;
        // script(1) gives it a terminal, to which it hands its standard input.
        let inner = format!(
            "stty rows 24 cols 160; {} top --cgroup {}",
            env!("CARGO_BIN_EXE_ipt2bpf"),
            cgroup.name()
        );
        let mut child = Command::new("script")
            .args(["-qec", &inner, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut keys = child.stdin.take().context("a pipe")?;
        std::thread::sleep(Duration::from_millis(1500));
        keys.write_all(b"sq")?;
        let output = child.wait_with_output()?;
        let drawn = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{drawn}");
        // Blanks are jumps of the cursor.
        for text in ["7002", "DROP", "packets/s", "protocol"] {
            ensure!(drawn.contains(text), "{text}: {drawn}");
        }
        let piped = ipt2bpf("top").expect_err("no terminal").to_string();
        ensure!(
            piped.contains("exit status: 2") && piped.contains("metrics"),
            "{piped}"
        );
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn explain_asks_the_running_filter() {
    in_kernel(|dir| {
        let rules = dir.join("rules");
        fs::write(
            &rules,
            "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
             -A INPUT -m set --match-set friends src -j ACCEPT\n\
             -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
             -A INPUT -p udp -m limit --limit 1/min -j ACCEPT\nCOMMIT\n",
        )?;
        let sets = dir.join("sets");
        fs::write(&sets, "create friends hash:ip\n")?;
        let cgroup = Cgroup::new("explain")?;
        let outside = listen(&["127.0.0.1"], &[7003])?;
        ipt2bpf(&format!(
            "attach --live-sets --connections 1024 --ipset {} --cgroup {} {}",
            sets.display(),
            cgroup.name(),
            rules.display()
        ))?;
        let client = cgroup.inside(|| TcpStream::connect("127.0.0.1:7003"))??;
        let server = outside[0].accept()?;
        let port = client.local_addr()?.port();
        let told = |packet: &str| -> Result<String> {
            let output = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
                .args(["explain", "--live", "--packet", packet])
                .output()?;
            let said = String::from_utf8(output.stderr)?;
            ensure!(output.status.success(), "{said}");
            ensure!(
                said.contains("-m limit") && !said.contains("friends"),
                "{said}"
            );
            Ok(String::from_utf8(output.stdout)?)
        };
        let answer = told(&format!("tcp 127.0.0.1:7003 > 127.0.0.1:{port} ack in lo"))?;
        ensure!(
            answer.contains("ACCEPT") && answer.contains("--ctstate ESTABLISHED"),
            "{answer}"
        );
        let stranger = format!("tcp 127.0.0.1:7004 > 127.0.0.1:{port} ack in lo");
        let answer = told(&stranger)?;
        ensure!(
            answer.contains("DROP") && !answer.contains("\nACCEPT"),
            "{answer}"
        );
        let before = ipt2bpf("show -c")?;
        ipt2bpf("set add friends 127.0.0.1")?;
        let answer = told(&stranger)?;
        ensure!(answer.contains("--match-set friends src"), "{answer}");
        ensure!(ipt2bpf("show -c")? == before, "nothing was counted");
        for (wrong, status) in [
            (
                vec![
                    "--live",
                    "--packet",
                    "tcp 1.2.3.4 > 1.2.3.5",
                    "--hook",
                    "xdp",
                ],
                2,
            ),
            (
                vec!["--cgroup", "/x", "--packet", "tcp 1.2.3.4 > 1.2.3.5"],
                2,
            ),
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
                .arg("explain")
                .args(&wrong)
                .output()?;
            ensure!(
                output.status.code() == Some(status),
                "{wrong:?}: {output:?}"
            );
        }
        drop((client, server));
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}
