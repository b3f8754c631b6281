//! System calls that no crate in use has as safe functions: the only module with unsafe code.
//!
//! Sources: linux/seccomp.h, seccomp_unotify(2), linux/netfilter/ipset/ip_set.h, socket(7),
//! linux/sockios.h.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (since Linux 5.19): a caller whose request is being worked on is woken by fatal
/// signals only.
const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
/// `SECCOMP_ADDFD_FLAG_SEND`: the call returns the new descriptor.
const ADDFD_SEND: u32 = 1 << 1;
/// `SIOCGSKNS`: a descriptor of a socket's network namespace.
const SIOCGSKNS: libc::c_ulong = 0x894C;
/// `SO_IP_SET`, and `IP_SET_OP_GET_BYNAME` for protocol version 6 and 7.
const SO_IP_SET: libc::c_int = 83;
const IP_SET_OP_GET_BYNAME: u32 = 6;
const IP_SET_PROTOCOL: u32 = 6;
/// No set has this index.
const NO_SET: u16 = u16::MAX;

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    /// What the answer must name.
    pub id: u64,
    /// The thread that called, 0 if it cannot be seen from here.
    pub pid: u32,
    /// The number of the call.
    pub call: i64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// The descriptor by which calls are heard and answered.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A value below zero is an error that errno tells.
fn result(value: libc::c_long) -> io::Result<libc::c_long> {
    match value {
        0.. => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Listener {
    fn ioctl<T>(&self, request: libc::Ioctl, argument: &mut T) -> io::Result<libc::c_long> {
        // SAFETY: each request below is given the struct that linux/seccomp.h names for it, which lives
        // across the call.
        result(unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw mut *argument) }.into())
    }

    /// The next call.
    ///
    /// # Errors
    /// ENOENT when its thread has ended meanwhile, EINTR.
    pub fn receive(&self) -> io::Result<Notification> {
        // SAFETY: plain numbers, for which zero is a value; the kernel wants it zeroed.
        let mut got: libc::seccomp_notif = unsafe { mem::zeroed() };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, &mut got)?;
        Ok(Notification {
            id: got.id,
            pid: got.pid,
            call: got.data.nr.into(),
            arguments: got.data.args,
        })
    }

    /// Whether the caller still waits, so that its thread's number is still its own.
    pub fn waits(&self, mut id: u64) -> bool {
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &mut id)
            .is_ok()
    }

    /// Answers with zero, or with an error number above zero.
    ///
    /// # Errors
    /// ENOENT when nobody waits any more.
    pub fn answer(&self, id: u64, errno: i32) -> io::Result<()> {
        let mut answer = libc::seccomp_notif_resp {
            id,
            val: 0,
            error: -errno,
            flags: 0,
        };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer)?;
        Ok(())
    }

    /// Lets the kernel do what was asked.
    ///
    /// # Errors
    /// ENOENT when nobody waits any more.
    pub fn pass(&self, id: u64) -> io::Result<()> {
        let mut answer = libc::seccomp_notif_resp {
            id,
            val: 0,
            error: 0,
            flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer)?;
        Ok(())
    }

    /// Answers with a new descriptor of the caller's (since Linux 5.14).
    ///
    /// # Errors
    /// ENOENT when nobody waits any more, EMFILE.
    pub fn give(&self, id: u64, file: BorrowedFd<'_>) -> io::Result<()> {
        let mut gift = libc::seccomp_notif_addfd {
            id,
            flags: ADDFD_SEND,
            srcfd: file.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC as u32,
        };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut gift)?;
        Ok(())
    }
}

/// Starts a command under a filter, whose `SECCOMP_RET_USER_NOTIF` the listener hears, also in all that the
/// command starts.
///
/// # Errors
/// Those of starting; EBUSY where such a filter is above us already.
pub fn spawn_filtered(
    command: &mut Command,
    filter: Vec<libc::sock_filter>,
) -> io::Result<(Child, Listener)> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let install = move || {
        let listener = install_filter(&filter)?;
        let descriptors = [listener.as_fd()];
        let mut space = [mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        rights.push(SendAncillaryMessage::ScmRights(&descriptors));
        let byte = [IoSlice::new(b"x")];
        rustix::net::sendmsg(&theirs, &byte, &mut rights, SendFlags::empty())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing.
    unsafe { command.pre_exec(install) };
    let child = command.spawn()?;
    let listener = crate::descriptors::receive_one(ours.as_fd())?;
    Ok((child, Listener(listener)))
}

/// Puts the filter on the calling thread; without the privilege to do so, after giving up new privileges.
fn install_filter(filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let with = |flags| seccomp_listener(filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | flags);
    let with_fallback = || match with(WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => with(0),
        other => other,
    };
    match with_fallback() {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            rustix::thread::set_no_new_privs(true)?;
            with_fallback()
        }
        other => other,
    }
}

fn seccomp_listener(filter: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        // The kernel reads only.
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program and the instructions that it points to live across the call.
    let descriptor = result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })?;
    // SAFETY: with this flag the call returns a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

/// The network namespace of a socket, as a descriptor of it.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN in it.
pub fn network_namespace(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: this request takes no argument.
    let descriptor = result(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) }.into())?;
    // SAFETY: it returns a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

/// The kernel's index of an ipset in the network namespace of the calling thread; none if there is no
/// such set.
pub fn set_index(name: &str) -> Option<u16> {
    /// `struct ip_set_req_get_set`
    #[repr(C)]
    struct Request {
        op: u32,
        version: u32,
        /// `union ip_set_name_index`: the name, which becomes the index.
        set: [u8; 32],
    }
    let mut request = Request {
        op: IP_SET_OP_GET_BYNAME,
        version: IP_SET_PROTOCOL,
        set: [0; 32],
    };
    request
        .set
        .get_mut(..name.len())?
        .copy_from_slice(name.as_bytes());
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(rustix::net::ipproto::RAW),
    )
    .ok()?;
    let mut length = size_of::<Request>() as libc::socklen_t;
    // SAFETY: the kernel reads and writes `length` bytes, the size of the request, which lives across
    // the call.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            SO_IP_SET,
            (&raw mut request).cast(),
            &raw mut length,
        )
    };
    let [low, high, ..] = request.set;
    let index = u16::from_ne_bytes([low, high]);
    (asked == 0 && index != NO_SET).then_some(index)
}

/// Closes all descriptors but standard input, output and error.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub fn close_others() -> io::Result<()> {
    // SAFETY: called when this process has opened nothing that it keeps.
    result(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) })?;
    Ok(())
}

/// Takes a descriptor that was handed to this process when it was started.
///
/// # Errors
/// EBADF when there is none of this number.
pub fn inherited(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the borrow is for one call, which copes with numbers that are not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    rustix::io::fcntl_getfd(borrowed)?;
    // SAFETY: it is open, and by the protocol of LISTEN_FDS (sd_listen_fds(3)) nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The supplementary groups of the process at the other end, when it connected (`SO_PEERGROUPS`).
///
/// # Errors
/// ERANGE for a process in more groups than anybody is in.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 1024];
    let mut length = size_of_val(groups.as_slice()) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the buffer, and says how many.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    result(asked.into())?;
    groups.truncate(length as usize / size_of::<u32>());
    Ok(groups)
}
