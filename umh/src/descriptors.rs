//! Descriptors as they travel over sockets (SCM_RIGHTS, unix(7)), and files in memory to send so.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors in one message (`SCM_MAX_FD` is 253).
pub const MOST: usize = 8;

/// Sends the beginning of a message with descriptors; returns how many bytes went.
///
/// # Errors
/// Those of sending.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !rights.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = [IoSlice::new(bytes)];
    Ok(sendmsg(socket, &bytes, &mut rights, SendFlags::NOSIGNAL)?)
}

/// Receives bytes and the descriptors that come with them.
///
/// # Errors
/// Those of receiving.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(bytes)];
    let got = recvmsg(socket, &mut slices, &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((got.bytes, descriptors))
}

/// Receives one byte with one descriptor.
///
/// # Errors
/// Those of receiving; [`io::ErrorKind::UnexpectedEof`] when none comes.
pub fn receive_one(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (_, descriptors) = receive(socket, &mut [0])?;
    let first = descriptors.into_iter().next();
    first.ok_or(io::ErrorKind::UnexpectedEof.into())
}

/// A file in memory that nobody can change any more, to be read from its start.
///
/// # Errors
/// Those of making it.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create(name, flags)?);
    file.write_all(bytes)?;
    file.rewind()?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_sealed_file_travels_and_cannot_be_written() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = sealed("object", b"bytes").unwrap();
        assert_eq!(send(ours.as_fd(), b"x", &[file.as_fd()]).unwrap(), 1);
        let mut got = File::from(receive_one(theirs.as_fd()).unwrap());
        let mut text = String::new();
        got.read_to_string(&mut text).unwrap();
        assert_eq!(text, "bytes");
        let error = got.write(b"more").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
