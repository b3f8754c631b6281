//! A process that wants something of us: its memory, its rights, its sockets.
//!
//! Memory is read and written through /proc/PID/mem, which stays that of one process whatever becomes of
//! its number (proc(5)). Read so, a page that userfaultfd(2) is asked for is an error at once. Files that a process
//! has mapped may still hold up whoever reads them (FUSE), so all of this is for a thread that others can do
//! without.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use ipt2bpf_parser::ruleset::Family;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::sys;
use crate::xtables::Errno;

/// `CAP_NET_ADMIN` of linux/capability.h.
const CAP_NET_ADMIN: u64 = 1 << 12;

/// A namespace, by the device and inode of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace(u64, u64);

impl Namespace {
    fn of(metadata: &fs::Metadata) -> Namespace {
        Namespace(metadata.dev(), metadata.ino())
    }

    /// The network namespace of the calling thread.
    ///
    /// # Errors
    /// Those of /proc.
    pub fn network() -> io::Result<Namespace> {
        Ok(Namespace::of(&fs::metadata("/proc/thread-self/ns/net")?))
    }
}

/// A process, by one of its threads.
#[derive(Debug)]
pub struct Caller {
    pid: u32,
    memory: File,
}

impl Caller {
    /// Opens its memory. Until it is known that the number is still its own, it may be another's.
    ///
    /// # Errors
    /// Those of /proc: it may be gone, or not ours to look at.
    pub fn open(pid: u32) -> io::Result<Caller> {
        let mut options = OpenOptions::new();
        let memory = options.read(true).write(true);
        let memory = memory.open(format!("/proc/{pid}/mem"))?;
        Ok(Caller { pid, memory })
    }

    /// Reads as much as there is, up to the size of the buffer.
    ///
    /// # Errors
    /// EFAULT when nothing is there.
    pub fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.wrapping_add(done as u64);
            match self.memory.read_at(&mut buffer[done..], at) {
                Ok(0) | Err(_) => break,
                Ok(more) => done += more,
            }
        }
        match done {
            0 if !buffer.is_empty() => Err(Errno(libc::EFAULT)),
            done => Ok(done),
        }
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// EFAULT when not all are there.
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        match self.read_some(address, &mut bytes)? {
            read if read == length => Ok(bytes),
            _ => Err(Errno(libc::EFAULT)),
        }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// EFAULT when there is no room.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let written = self.memory.write_all_at(bytes, address);
        written.map_err(|_| Errno(libc::EFAULT))
    }

    /// Whether it may change the tables of the user namespace that we are in.
    ///
    /// # Errors
    /// Those of /proc.
    pub fn may_administer(&self) -> io::Result<bool> {
        let theirs = fs::metadata(format!("/proc/{}/ns/user", self.pid))?;
        let ours = fs::metadata("/proc/self/ns/user")?;
        let effective = self.status("CapEff:")?;
        let effective = u64::from_str_radix(&effective, 16).unwrap_or(0);
        let is_here = Namespace::of(&theirs) == Namespace::of(&ours);
        Ok(is_here && effective & CAP_NET_ADMIN != 0)
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// Those of /proc.
    pub fn network(&self) -> io::Result<Namespace> {
        let metadata = fs::metadata(format!("/proc/{}/ns/net", self.pid))?;
        Ok(Namespace::of(&metadata))
    }

    /// One of its descriptors.
    ///
    /// # Errors
    /// EBADF, and those of /proc.
    pub fn descriptor(&self, number: u64) -> io::Result<OwnedFd> {
        let leader: i32 = self.status("Tgid:")?.parse().unwrap_or(0);
        let leader = Pid::from_raw(leader).ok_or(io::ErrorKind::NotFound)?;
        let process = pidfd_open(leader, PidfdFlags::empty())?;
        Ok(pidfd_getfd(
            process,
            number as i32,
            PidfdGetfdFlags::empty(),
        )?)
    }

    /// A line of /proc/PID/status.
    fn status(&self, name: &str) -> io::Result<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.unwrap_or_default().trim().to_owned())
    }
}

/// What the kernel says to the options of a family on such a socket, before it looks at them.
pub fn refusal(family: Family, socket: BorrowedFd<'_>) -> Option<Errno> {
    match (family, socket_domain(socket).ok()?) {
        (Family::V4, AddressFamily::INET) | (Family::V6, AddressFamily::INET6) => None,
        (Family::V4, AddressFamily::INET6) => Some(Errno(libc::ENOPROTOOPT)),
        _ => Some(Errno(libc::EOPNOTSUPP)),
    }
}

/// The network namespace that a socket is in.
///
/// # Errors
/// EPERM without rights in it.
pub fn network_of(socket: BorrowedFd<'_>) -> io::Result<Namespace> {
    let namespace = File::from(sys::network_namespace(socket)?);
    Ok(Namespace::of(&namespace.metadata()?))
}
