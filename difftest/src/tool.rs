//! Runs the system's own tools in the calling thread's network namespace.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a tool to its end with this text on its standard input, and gives back its standard output.
///
/// # Errors
/// When the tool is absent or fails; the message holds what it wrote to standard error.
pub fn run(tool: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {tool}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let output = std::thread::scope(|scope| {
        // A tool that stops reading early breaks the pipe; its exit status tells why.
        scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
        child.wait_with_output()
    })
    .with_context(|| format!("cannot wait for {tool}"))?;
    if !output.status.success() {
        bail!(
            "{tool} {}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
