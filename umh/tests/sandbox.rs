//! What the compiling process can still do: a process of its own goes into the sandbox and tries.

#![allow(unsafe_code)]

use std::io;
use std::process::{Command, Stdio};

use ipt2bpf_umh::sandbox;

/// Tells the process that it is the one to go in.
const INSIDE: &str = "IPT2BPF_TEST_SANDBOX";
const MEMORY: u64 = 1 << 30;

#[test]
fn nothing_is_left_but_memory_and_the_open_descriptors() {
    if std::env::var_os(INSIDE).is_some() {
        // Threads that were there before are not in the sandbox, so only this one speaks.
        sandbox::enter(MEMORY).unwrap();
        let report = try_everything();
        // SAFETY: nothing is left to be done; other threads end with this.
        unsafe {
            libc::write(2, report.as_ptr().cast(), report.len());
            libc::_exit(0);
        }
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "nothing_is_left_but_memory_and_the_open_descriptors",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = "\
open EPERM
open for writing EPERM
socket EPERM
connect EPERM
execve EPERM
bpf EPERM
ptrace EPERM
fork EPERM
kill EPERM
memfd EPERM
mount EPERM
seccomp EPERM
prctl EPERM
io_uring EPERM
executable memory EPERM
making memory executable EPERM
too much memory ENOMEM
write to another descriptor EPERM
read standard input ok
memory ok
";
    assert!(said.ends_with(expected), "{said}");
    assert!(output.status.success(), "{said}");
}

fn try_everything() -> String {
    let path = c"/etc/passwd".as_ptr();
    let nothing = std::ptr::null_mut::<libc::c_void>();
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let map = |size: usize, protection: i32| {
        // SAFETY: a new mapping, which nobody uses.
        let mapped = unsafe {
            libc::mmap(
                nothing,
                size,
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match mapped {
            libc::MAP_FAILED => -1,
            _ => 0,
        }
    };
    let mut report = String::new();
    let mut tried = |what: &str, result: i64| {
        let error = io::Error::last_os_error().raw_os_error();
        let word = match (result, error) {
            (0.., _) => "ok",
            (_, Some(libc::EPERM)) => "EPERM",
            (_, Some(libc::ENOMEM)) => "ENOMEM",
            _ => "another error",
        };
        report += &format!("{what} {word}\n");
    };
    // SAFETY: calls whose arguments are valid or null, in a process that ends soon.
    unsafe {
        tried("open", libc::open(path, libc::O_RDONLY).into());
        tried(
            "open for writing",
            libc::open(c"/tmp/x".as_ptr(), libc::O_WRONLY | libc::O_CREAT, 0o600).into(),
        );
        tried(
            "socket",
            libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into(),
        );
        tried("connect", libc::connect(0, nothing.cast(), 0).into());
        tried(
            "execve",
            libc::execve(
                c"/bin/true".as_ptr(),
                [std::ptr::null()].as_ptr(),
                [std::ptr::null()].as_ptr(),
            )
            .into(),
        );
        tried("bpf", libc::syscall(libc::SYS_bpf, 0, nothing, 0));
        tried(
            "ptrace",
            libc::ptrace(libc::PTRACE_ATTACH, libc::getpid(), 0, 0),
        );
        tried(
            "fork",
            libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0),
        );
        tried("kill", libc::kill(1, 0).into());
        tried("memfd", libc::memfd_create(c"x".as_ptr(), 0).into());
        tried("mount", libc::mount(path, path, path, 0, nothing).into());
        tried("seccomp", libc::syscall(libc::SYS_seccomp, 0, 0, 0));
        tried("prctl", libc::prctl(libc::PR_SET_DUMPABLE, 1).into());
        tried(
            "io_uring",
            libc::syscall(libc::SYS_io_uring_setup, 1, nothing),
        );
        tried("executable memory", map(4096, writable | libc::PROT_EXEC));
        let code = try_everything as *const () as usize & !4095;
        tried(
            "making memory executable",
            libc::mprotect(code as *mut _, 4096, libc::PROT_READ | libc::PROT_EXEC).into(),
        );
        tried("too much memory", map(2 << 30, writable));
        tried(
            "write to another descriptor",
            libc::write(1, path.cast(), 1) as i64,
        );
        let mut byte = 0u8;
        tried(
            "read standard input",
            libc::read(0, (&raw mut byte).cast(), 1) as i64,
        );
        tried("memory", map(1 << 20, writable));
    }
    report
}
