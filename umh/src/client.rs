//! The other side of the socket: calls and their answers.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::descriptors;
use crate::failure::Failure;

/// The longest answer that is read, in bytes.
const LONGEST: usize = 256 << 20;

/// A connection to the service.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its parameters.
    pub parameters: Value,
    /// What came with it, in the order of the numbers by which the parameters name it.
    pub descriptors: Vec<OwnedFd>,
    /// Whether more follow.
    pub continues: bool,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The service says no.
    #[error("{} {}", .0.error, .0.parameters)]
    Failed(Failure),
    /// The connection does not work.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What comes is no answer.
    #[error("the answer is none of Varlink: {0}")]
    Garbled(#[from] serde_json::Error),
}

/// As it comes.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    parameters: Value,
    #[serde(default)]
    continues: Option<bool>,
    #[serde(default)]
    error: Option<String>,
}

impl Client {
    /// Connects to a service.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn connect(path: &Path) -> io::Result<Client> {
        Ok(Client {
            stream: UnixStream::connect(path)?,
            buffer: Vec::new(),
            descriptors: VecDeque::new(),
        })
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn call(&mut self, method: &str, parameters: &Value) -> Result<Answer, ClientError> {
        let sent = self.send(&json!({ "method": method, "parameters": parameters }));
        match sent {
            // Who hangs up early may have said why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.receive().map_err(|failure| match failure {
                    ClientError::Failed(_) => failure,
                    _ => error.into(),
                })
            }
            Err(error) => Err(error.into()),
            Ok(()) => self.receive(),
        }
    }

    /// Calls a method that answers more than once; [`Client::receive`] gives the answers.
    ///
    /// # Errors
    /// Those of sending.
    pub fn call_for_more(&mut self, method: &str, parameters: &Value) -> io::Result<()> {
        self.send(&json!({ "method": method, "parameters": parameters, "more": true }))
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn receive(&mut self) -> Result<Answer, ClientError> {
        let message = self.message()?;
        let Message {
            parameters,
            continues,
            error,
        } = serde_json::from_slice(&message)?;
        match error {
            Some(error) => Err(ClientError::Failed(Failure { error, parameters })),
            None => Ok(Answer {
                parameters,
                descriptors: std::mem::take(&mut self.descriptors).into(),
                continues: continues == Some(true),
            }),
        }
    }

    fn send(&mut self, call: &Value) -> io::Result<()> {
        let mut message = call.to_string().into_bytes();
        message.push(0);
        self.stream.write_all(&message)
    }

    fn message(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        let mut chunk = vec![0; 64 << 10];
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|&byte| byte == 0) {
                let rest = self.buffer.split_off(searched + end + 1);
                let mut message = std::mem::replace(&mut self.buffer, rest);
                message.pop();
                return Ok(message);
            }
            searched = self.buffer.len();
            if searched > LONGEST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let (read, files) = descriptors::receive(self.stream.as_fd(), &mut chunk)?;
            self.descriptors.extend(files);
            match read {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }
}
