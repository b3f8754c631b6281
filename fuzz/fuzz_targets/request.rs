//! Any bytes as a message of a client: reading it never panics, nor does the compiler on its parameters, and what
//! comes back is JSON.
#![no_main]

use std::sync::LazyLock;

use ipt2bpf_umh::compiler::{Host, answer};
use ipt2bpf_umh::frame::Frame;
use ipt2bpf_umh::varlink::Call;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static HOST: LazyLock<Host> = LazyLock::new(Host::read);

fuzz_target!(|input: &[u8]| {
    let Ok(call) = Call::read(input) else {
        return;
    };
    let method = call.method.rsplit('.').next().unwrap_or_default();
    let job = serde_json::json!({ "method": method }).to_string();
    let text = format!("{},\"parameters\":{}}}", job.trim_end_matches('}'), call.parameters());
    let frame = Frame {
        text: text.into_bytes(),
        bytes: Vec::new(),
    };
    let reply = answer(&HOST, &frame);
    serde_json::from_slice::<Value>(&reply.text).expect("a reply is JSON");
});
