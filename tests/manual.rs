//! The manual pages and the completions, judged by the programs that read them.

use std::fs;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

fn ipt2bpf(words: &[&str]) -> Result<Output> {
    let output = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
        .args(words)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words:?}: {said}");
    Ok(output)
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let is_there = command.status().is_ok();
    if !is_there {
        eprintln!("skipped: {program} is not installed");
    }
    is_there
}

#[test]
fn every_subcommand_has_a_page_that_groff_sets_without_a_warning() -> Result<()> {
    let dir = tempfile::tempdir()?;
    ipt2bpf(&["man", &dir.path().display().to_string()])?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(dir.path())? {
        names.push(entry?.file_name().into_string().ok().context("a name")?);
    }
    let help = String::from_utf8(ipt2bpf(&["--help"])?.stdout)?;
    let subcommands = help.split_once("Commands:\n").context("no commands")?.1;
    for line in subcommands.lines().take_while(|line| !line.is_empty()) {
        let is_first = line.starts_with("  ") && !line.starts_with("   ");
        if let Some(name) = line
            .split_whitespace()
            .next()
            .filter(|&it| is_first && it != "help")
        {
            assert!(
                names.contains(&format!("ipt2bpf-{name}.1")),
                "{name}: {names:?}"
            );
        }
    }
    assert!(names.contains(&"ipt2bpf.1".to_owned()), "{names:?}");
    if !is_there("groff") {
        return Ok(());
    }
    for name in names {
        let page = dir.path().join(&name);
        let output = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww"])
            .arg(page)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("ipt2bpf"),
            "{name} is empty"
        );
    }
    Ok(())
}

#[test]
fn shells_take_the_completions() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = ipt2bpf(&["completions", shell])?.stdout;
        assert!(
            String::from_utf8_lossy(&text).contains("iptables-save"),
            "{shell}"
        );
        let path = dir.path().join(shell);
        fs::write(&path, text)?;
        // bash -n reads a script and runs nothing; the other shells are seldom installed.
        if shell == "bash" && is_there("bash") {
            let output = Command::new("bash").arg("-n").arg(&path).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{shell}: {said}"
            );
        }
    }
    Ok(())
}
