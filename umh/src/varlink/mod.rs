//! Varlink's messages (<https://varlink.org/Method-Call>): JSON objects, each ended by a NUL byte.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::Failure;

/// The description of our interface.
pub const IO_IPT2BPF: &str = include_str!("io.ipt2bpf.varlink");
/// The description of the one that every service has.
pub const ORG_VARLINK_SERVICE: &str = include_str!("org.varlink.service.varlink");

/// A call. Its parameters are read by whom they are for.
#[derive(Debug, Deserialize)]
pub struct Call<'a> {
    /// The interface and the method.
    pub method: String,
    /// An object.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    /// Whether the caller takes more than one reply.
    #[serde(default)]
    pub more: Option<bool>,
    /// Whether it takes none.
    #[serde(default)]
    pub oneway: Option<bool>,
    /// Whether it wants the connection for something else afterwards; nothing here does.
    #[serde(default)]
    pub upgrade: Option<bool>,
}

impl<'a> Call<'a> {
    /// Reads a message without its NUL.
    ///
    /// # Errors
    /// Those of JSON.
    pub fn read(message: &'a [u8]) -> Result<Call<'a>, serde_json::Error> {
        serde_json::from_slice(message)
    }

    /// The parameters as they came; none are the empty object.
    pub fn parameters(&self) -> &'a str {
        self.parameters.map_or("{}", RawValue::get)
    }

    /// The parameters of a method.
    ///
    /// # Errors
    /// The name of the parameter that is wrong.
    pub fn read_parameters<T: Deserialize<'a>>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.parameters()).map_err(|error| Failure::unreadable(&error))
    }
}

/// A reply.
#[derive(Debug, Serialize)]
struct Reply<'a> {
    parameters: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A reply as a message with its NUL; more follow if it `continues`.
pub fn reply(result: &Result<Value, Failure>, continues: bool) -> Vec<u8> {
    let reply = match result {
        Ok(parameters) => Reply {
            parameters,
            continues: continues.then_some(true),
            error: None,
        },
        Err(Failure { error, parameters }) => Reply {
            parameters,
            continues: None,
            error: Some(error),
        },
    };
    // Values without odd keys always serialise.
    let mut message = serde_json::to_vec(&reply).unwrap_or_default();
    message.push(0);
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_are_read() {
        let text =
            br#"{"method":"io.ipt2bpf.Compile","parameters":{"memfd":true},"more":true,"x":1}"#;
        let call = Call::read(text).unwrap();
        assert_eq!(call.method, "io.ipt2bpf.Compile");
        assert_eq!(call.parameters(), r#"{"memfd":true}"#);
        assert_eq!((call.more, call.oneway), (Some(true), None));
        for wrong in [&b"{}"[..], b"[]", b"", b"{\"method\":1}", b"\xff"] {
            Call::read(wrong).unwrap_err();
        }
    }

    #[test]
    fn replies_are_written() {
        let good = reply(&Ok(json!({"a": 1})), true);
        assert_eq!(good, b"{\"parameters\":{\"a\":1},\"continues\":true}\0");
        let bad = reply(&Err(Failure::busy()), false);
        assert_eq!(bad, b"{\"parameters\":{},\"error\":\"io.ipt2bpf.Busy\"}\0");
    }
}
