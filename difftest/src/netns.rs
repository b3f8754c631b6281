//! A network namespace that lives as long as a closure runs.
//!
//! The namespace has no name. A thread is its only holder, so the kernel removes it when the thread
//! ends, be it by a return, a panic or the death of the process.

use std::panic::resume_unwind;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// Runs a closure on a thread of its own in a new network namespace, and gives back its result.
/// Programs started by the closure run in that namespace too.
///
/// # Errors
/// When the namespace cannot be made, or those of the closure.
///
/// # Panics
/// When the closure does.
pub fn isolated<T: Send>(body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
                body()
            })
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// What this process lacks for a test against netfilter, for the message of a test that is skipped.
///
/// # Errors
/// When it is not root, or a tool or `/dev/net/tun` is absent.
pub fn prerequisites() -> Result<()> {
    if !geteuid().is_root() {
        return Err(anyhow!("needs root"));
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Err(anyhow!("needs /dev/net/tun"));
    }
    for tool in [
        "ip",
        "nft",
        "iptables-legacy-restore",
        "iptables-legacy-save",
        "ip6tables-legacy-restore",
        "ip6tables-legacy-save",
    ] {
        Command::new(tool)
            .arg("--version")
            .output()
            .with_context(|| format!("needs {tool}"))?;
    }
    Ok(())
}
