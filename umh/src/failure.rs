//! How a call can fail, as Varlink says it: the name of an error and its parameters.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Failure {
    /// The name, with its interface.
    pub error: String,
    /// What it says.
    pub parameters: Value,
}

impl Failure {
    fn new(error: &str, parameters: Value) -> Failure {
        Failure {
            error: error.to_owned(),
            parameters,
        }
    }

    /// The rules or the sets are wrong, or cannot be translated; the messages say why.
    pub fn refused(messages: Value) -> Failure {
        Failure::new("io.ipt2bpf.Refused", json!({ "messages": messages }))
    }

    /// The blob is none that iptables makes.
    pub fn bad_blob(offset: usize, reason: &str) -> Failure {
        let parameters = json!({ "offset": offset, "reason": reason });
        Failure::new("io.ipt2bpf.BadBlob", parameters)
    }

    /// The compiler ended without an answer: it ran out of memory, or has a fault.
    pub fn compiler_died() -> Failure {
        Failure::new("io.ipt2bpf.CompilerDied", json!({}))
    }

    /// The compiler was not done in time.
    pub fn timed_out(seconds: u64) -> Failure {
        Failure::new("io.ipt2bpf.TimedOut", json!({ "seconds": seconds }))
    }

    /// The request, or the answer, is larger than what the service takes.
    pub fn too_large(limit: usize) -> Failure {
        Failure::new("io.ipt2bpf.TooLarge", json!({ "limit": limit }))
    }

    /// Others keep the service busy.
    pub fn busy() -> Failure {
        Failure::new("io.ipt2bpf.Busy", json!({}))
    }

    /// The kernel, or the file system, said no.
    pub fn kernel(reason: impl std::fmt::Display) -> Failure {
        let parameters = json!({ "reason": reason.to_string() });
        Failure::new("io.ipt2bpf.KernelRefused", parameters)
    }

    /// Nothing is attached to the place.
    pub fn nothing_attached() -> Failure {
        Failure::new("io.ipt2bpf.NothingAttached", json!({}))
    }

    /// Something is attached to the place.
    pub fn already_attached() -> Failure {
        Failure::new("io.ipt2bpf.AlreadyAttached", json!({}))
    }

    /// The caller may not do this.
    pub fn permission_denied() -> Failure {
        Failure::new("org.varlink.service.PermissionDenied", json!({}))
    }

    /// A parameter is missing, unknown or of another type.
    pub fn invalid_parameter(parameter: &str) -> Failure {
        let parameters = json!({ "parameter": parameter });
        Failure::new("org.varlink.service.InvalidParameter", parameters)
    }

    /// As told by the reader of the parameters, which names the one at fault between backticks.
    pub fn unreadable(error: &serde_json::Error) -> Failure {
        let said = error.to_string();
        let name = said.split('`').nth(1);
        Failure::invalid_parameter(name.unwrap_or(&said))
    }

    /// There is no such interface.
    pub fn no_interface(interface: &str) -> Failure {
        let parameters = json!({ "interface": interface });
        Failure::new("org.varlink.service.InterfaceNotFound", parameters)
    }

    /// There is no such method.
    pub fn no_method(method: &str) -> Failure {
        let parameters = json!({ "method": method });
        Failure::new("org.varlink.service.MethodNotFound", parameters)
    }

    /// The method answers more than once, and the caller does not ask for more.
    pub fn expected_more() -> Failure {
        Failure::new("org.varlink.service.ExpectedMore", json!({}))
    }
}
