//! ipt2bpf
fn main() {}
