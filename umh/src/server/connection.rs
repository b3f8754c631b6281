//! One client: requests in, replies out, one after the other.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::Server;
use super::budget::Share;
use crate::access::Peer;
use crate::descriptors;
use crate::failure::Failure;
use crate::service::Reply;
use crate::timed::Timed;
use crate::varlink::{Call, reply};

/// How much is read at once, and how much of a request costs nothing of the budget.
const CHUNK: usize = 64 << 10;

/// A client and what it has sent so far.
pub struct Connection<'a> {
    server: &'a Server,
    number: u64,
    peer: &'a Peer,
    stream: &'a UnixStream,
    /// Bytes of requests that are not read yet.
    buffer: Vec<u8>,
    /// What they cost.
    share: Share,
}

/// Why no request comes.
enum End {
    /// The client is gone, or too slow.
    Gone,
    /// The request has no end within the limit.
    TooLarge,
    /// There is no memory for it now.
    Busy,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

impl<'a> Connection<'a> {
    /// A client that has said nothing.
    pub fn new(server: &'a Server, number: u64, peer: &'a Peer, stream: &'a UnixStream) -> Self {
        Connection {
            server,
            number,
            peer,
            stream,
            buffer: Vec::new(),
            share: server.budget.share(),
        }
    }

    /// Serves it to its end.
    pub fn serve(mut self) {
        loop {
            let message = match self.next_message() {
                Ok(message) => message,
                Err(End::Gone) => return,
                Err(End::TooLarge) => {
                    let limit = self.server.service.request_limit;
                    let _ = self.send(&Err(Failure::too_large(limit)), &[]);
                    return;
                }
                Err(End::Busy) => {
                    let _ = self.send(&Err(Failure::busy()), &[]);
                    return;
                }
            };
            if !self.server.note(self.number, false) || self.answer(&message).is_err() {
                return;
            }
            drop(message);
            if self.buffer.is_empty() {
                self.share = self.server.budget.share();
            }
            if !self.server.note(self.number, true) {
                return;
            }
        }
    }

    /// The next request, without its NUL.
    fn next_message(&mut self) -> Result<Vec<u8>, End> {
        let limit = self.server.service.request_limit;
        let mut searched = 0;
        let mut timed: Option<Timed<'_>> = None;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|&byte| byte == 0) {
                let rest = self.buffer.split_off(searched + end + 1);
                let mut message = std::mem::replace(&mut self.buffer, rest);
                message.pop();
                return Ok(message);
            }
            searched = self.buffer.len();
            if searched > limit {
                return Err(End::TooLarge);
            }
            // Memory is taken twice: while a buffer grows, and while the compiler gets its copy.
            if searched > CHUNK && !self.share.grow_to(2 * searched) {
                return Err(End::Busy);
            }
            let mut chunk = [0; CHUNK];
            let read = if searched == 0 {
                // Between requests a client may take its time.
                self.stream.set_read_timeout(None)?;
                let mut stream = self.stream;
                stream.read(&mut chunk)?
            } else {
                let patience = self.server.bounds.patience;
                let timed = timed.get_or_insert_with(|| Timed::new(self.stream, patience));
                timed.read(&mut chunk)?
            };
            match read {
                0 => return Err(End::Gone),
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Answers a request; an error ends the connection.
    fn answer(&mut self, message: &[u8]) -> io::Result<()> {
        // Whoever speaks something else gets no answer in words that it does not know.
        let call = Call::read(message).map_err(|_| io::ErrorKind::InvalidData)?;
        if call.upgrade == Some(true) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let silent = call.oneway == Some(true);
        let mut sink = |value: Value| match silent {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => self.send_part(&Ok(value), true),
        };
        let done = self.server.service.call(self.peer, &call, &mut sink);
        if silent {
            return Ok(());
        }
        match done {
            Ok(Reply { value, descriptors }) => {
                let descriptors: Vec<BorrowedFd<'_>> =
                    descriptors.iter().map(AsFd::as_fd).collect();
                self.send(&Ok(value), &descriptors)
            }
            Err(failure) => self.send(&Err(failure), &[]),
        }
    }

    fn send_part(&self, result: &Result<Value, Failure>, continues: bool) -> io::Result<()> {
        self.write(&reply(result, continues), &[])
    }

    fn send(&self, result: &Result<Value, Failure>, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let message = reply(result, false);
        let mut share = self.server.budget.share();
        if message.len() > CHUNK && !share.grow_to(message.len()) {
            return self.write(&reply(&Err(Failure::busy()), false), &[]);
        }
        self.write(&message, files)
    }

    fn write(&self, message: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut timed = Timed::new(self.stream, self.server.bounds.patience);
        let sent = match files {
            [] => 0,
            files => {
                self.stream
                    .set_write_timeout(Some(self.server.bounds.patience))?;
                descriptors::send(self.stream.as_fd(), message, files)?
            }
        };
        timed.write_all(&message[sent..])
    }
}
