//! The walls around the compiling process. It keeps the descriptors that it has, memory, and a few
//! system calls on them: no files, no network, no other processes, no privileges.
//!
//! Everything here is for the calling thread, and for the threads and processes that it starts later; the
//! limits are for its process. A process with one thread is in it as a whole.

use std::collections::BTreeMap;
use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use thiserror::Error;

/// The user and group that own nothing, by the name of nobody (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65534;

/// Why the walls do not stand.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A limit or a credential could not be changed.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// Capabilities could not be dropped.
    #[error("cannot drop capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// The kernel has landlock and refuses the rules.
    #[error("cannot forbid files: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The kernel does not take the filter of system calls.
    #[error("cannot forbid system calls: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// There is no filter for this kind of processor.
    #[error("cannot forbid system calls: {0}")]
    Backend(#[from] seccompiler::BackendError),
}

/// Enters the sandbox, for good. Address space is limited to `memory` bytes.
///
/// Landlock is used as far as the running kernel has it; all it forbids is forbidden by the filter of
/// system calls, too.
///
/// # Errors
/// [`SandboxError`]; the caller must then end.
pub fn enter(memory: u64) -> Result<(), SandboxError> {
    let system = |what| move |error: rustix::io::Errno| SandboxError::System(what, error.into());
    become_nobody().map_err(system("give up the user"))?;
    for set in [
        caps::CapSet::Ambient,
        caps::CapSet::Inheritable,
        caps::CapSet::Effective,
        caps::CapSet::Permitted,
    ] {
        caps::clear(None, set)?;
    }
    thread::set_no_new_privs(true).map_err(system("give up new privileges"))?;
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    for (resource, limit) in [
        (Resource::As, memory),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, 0),
        (Resource::Nproc, 0),
    ] {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, limit).map_err(system("limit resources"))?;
    }
    seccompiler::apply_filter(&system_calls()?)?;
    Ok(())
}

/// Leaves root behind, where there is something to leave and the right to do so. Capabilities of the
/// bounding set go first: that takes one.
fn become_nobody() -> rustix::io::Result<()> {
    let may = |capability| {
        let has = caps::has_cap(None, caps::CapSet::Effective, capability);
        has.is_ok_and(|has| has)
    };
    if may(caps::Capability::CAP_SETPCAP) {
        // What is left in the bounding set cannot be gained without new privileges.
        let _ = caps::clear(None, caps::CapSet::Bounding);
    }
    if may(caps::Capability::CAP_SETGID) {
        let nobody = Gid::from_raw(NOBODY);
        thread::set_thread_groups(&[])?;
        thread::set_thread_res_gid(nobody, nobody, nobody)?;
    }
    if may(caps::Capability::CAP_SETUID) {
        let nobody = Uid::from_raw(NOBODY);
        thread::set_thread_res_uid(nobody, nobody, nobody)?;
    }
    Ok(())
}

/// The system calls that are left: those on standard input, output and error, on memory, and those that
/// the runtime makes to wait, to tell the time and to end. All others fail with EPERM.
fn system_calls() -> Result<BpfProgram, seccompiler::BackendError> {
    let always = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
        libc::SYS_tgkill,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        always.into_iter().map(|call| (call, Vec::new())).collect();
    let on = |descriptor| {
        let equal = SeccompCmpOp::Eq;
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, equal, descriptor)?;
        SeccompRule::new(vec![condition])
    };
    rules.insert(libc::SYS_read, vec![on(0)?]);
    rules.insert(libc::SYS_write, vec![on(0)?, on(2)?]);
    let not_executable = || {
        let execute = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        let condition = SeccompCondition::new(2, SeccompCmpArgLen::Dword, execute, 0)?;
        SeccompRule::new(vec![condition])
    };
    rules.insert(libc::SYS_mmap, vec![not_executable()?]);
    rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()
}
