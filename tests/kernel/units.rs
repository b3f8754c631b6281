//! Units for systemd, as far as that can be tried where systemd does not run: it finds nothing wrong with
//! them, their command works, and the programs that they name filter.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::places::{Cgroup, both_families, in_kernel, ipt2bpf, run};
use crate::talk::{LOOPBACKS, connects, listen};

/// The files that were printed: name and contents.
fn files(printed: &str) -> Result<Vec<(String, String)>> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in printed.lines() {
        match (
            line.strip_prefix("# /etc/systemd/system/"),
            files.last_mut(),
        ) {
            (Some(name), _) => files.push((name.to_owned(), String::new())),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => anyhow::bail!("{line}"),
        }
    }
    Ok(files)
}

/// What a unit says of a key.
fn value<'a>(text: &'a str, key: &str) -> Result<&'a str> {
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.with_context(|| format!("{key} in {text}"))
}

/// Has systemd look at units; says nothing where there is no systemd.
fn verify(dir: &Path, unit: &str) -> Result<()> {
    let Ok(output) = Command::new("systemd-analyze")
        .args(["verify", "--man=no", unit])
        .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.display()))
        .output()
    else {
        return Ok(());
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // It also tells of units of the machine that these need.
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("ipt2bpf") || line.contains(unit))
        .collect();
    ensure!(ours.is_empty(), "{said}");
    Ok(())
}

#[test]
fn a_service_gets_its_rules_by_the_units_that_are_printed() {
    in_kernel(|dir| {
        let rules = both_families(
            dir,
            "rules",
            "-A INPUT -p tcp --dport 7002 -j DROP\n-A OUTPUT -p tcp --dport 7004 -j DROP\n",
        )?;
        let printed = ipt2bpf(&format!("systemd web@1.service {rules}"))?;
        let files = files(&printed)?;
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(
            names == ["ipt2bpf-web-1.service", "web@1.service.d/50-ipt2bpf.conf"],
            "{names:?}"
        );
        let units = dir.join("units");
        fs::create_dir(&units)?;
        fs::write(
            units.join("web@.service"),
            "[Service]\nExecStart=/bin/true\n",
        )?;
        for (name, text) in &files {
            let path = units.join(name);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, text)?;
        }
        verify(&units, "web@1.service")?;
        let [(_, loader), (_, drop_in)] = &files[..] else {
            anyhow::bail!("{printed}");
        };
        let command = value(loader, "ExecStart")?;
        let (program, arguments) = command.split_once(' ').context("a command")?;
        ensure!(program == env!("CARGO_BIN_EXE_ipt2bpf"), "{program}");
        // Reloading replaces the pins.
        for _ in 0..2 {
            run(program, arguments)?;
        }
        let cgroup = Cgroup::new("unit")?;
        for (key, hook) in [
            ("IPIngressFilterPath", "cgroup_inet_ingress"),
            ("IPEgressFilterPath", "cgroup_inet_egress"),
        ] {
            let pin = value(drop_in, key)?;
            run(
                "bpftool",
                &format!("cgroup attach {} {hook} pinned {pin}", cgroup.name()),
            )?;
        }
        let _inside = cgroup.inside(|| listen(&LOOPBACKS, &[7001, 7002]))??;
        let _outside = listen(&LOOPBACKS, &[7003, 7004])?;
        for host in LOOPBACKS {
            ensure!(
                connects(host, 7001) && !connects(host, 7002),
                "{host}: ingress"
            );
            let out = |port| cgroup.inside(|| connects(host, port));
            ensure!(out(7003)? && !out(7004)?, "{host}: egress");
        }
        Ok(())
    });
}

#[test]
fn only_units_with_a_cgroup_are_taken() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", "-A INPUT -j DROP\n")?;
        for unit in ["web.timer", ".service", "a b.service", "../web.service"] {
            let output = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
                .args(["systemd", unit, &rules])
                .output()?;
            let said = String::from_utf8(output.stderr)?;
            ensure!(output.status.code() == Some(2), "{unit}: {said}");
            ensure!(said.contains("is no unit that has a cgroup"), "{said}");
        }
        let slice = ipt2bpf(&format!("systemd user.slice {rules}"))?;
        ensure!(slice.contains("[Slice]\nIPIngressFilterPath="), "{slice}");
        Ok(())
    });
}

#[test]
fn the_units_that_are_shipped_are_in_order() -> Result<()> {
    for (file, unit) in [
        ("ipt2bpf@.service", "ipt2bpf@web.service"),
        ("ipt2bpf-watch.service", "ipt2bpf-watch.service"),
    ] {
        let dir = tempfile::tempdir()?;
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("dist")
            .join(file);
        let text = fs::read_to_string(shipped)?;
        // Where it will be is up to who installs it.
        let binary = env!("CARGO_BIN_EXE_ipt2bpf");
        let installed = text.replace("=ipt2bpf ", &format!("={binary} "));
        ensure!(installed != text, "{text}");
        fs::write(dir.path().join(file), installed)?;
        verify(dir.path(), unit)?;
    }
    Ok(())
}
