//! Programs run on frames of interfaces in a network namespace of their own.

use std::fs;
use std::path::Path;
use std::process::Command;

use ipt2bpf_codegen::module::Hook;

use super::loaders::run;

/// The interfaces of the network namespace that programs are run in, with their numbers. The second is
/// an Ethernet interface of group 5.
pub const INTERFACES: [(&str, u32); 2] = [("lo", 1), ("left", 7)];

/// The destination and the source of frames.
const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// An IPv4 packet of no protocol, without a payload.
pub fn frame4() -> Vec<u8> {
    let mut packet = [0; 20];
    // Version and header length, length of the packet, checksum of the header.
    packet[0..4].copy_from_slice(&[0x45, 0, 0, 20]);
    packet[10..12].copy_from_slice(&[0xba, 0xeb]);
    [&ADDRESSES[..], &[0x08, 0x00], &packet].concat()
}

/// An IPv6 packet with nothing behind the header from `fe80::ff:fe00:N`, where 2 is the interface
/// identifier that the frame's source makes.
pub fn frame6(last: u8) -> Vec<u8> {
    let mut packet = [0; 40];
    packet[0] = 0x60;
    packet[6] = 59;
    packet[8..24].copy_from_slice(&[
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, last,
    ]);
    packet[24..26].copy_from_slice(&[0xfe, 0x80]);
    [&ADDRESSES[..], &[0x86, 0xdd], &packet].concat()
}

/// What the pinned program of a hook returns for a frame of an interface.
pub fn returned(pins: &Path, hook: Hook, ifindex: u32, frame: &[u8]) -> u32 {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, context) = (dir.path().join("data"), dir.path().join("context"));
    fs::write(&data, frame).expect("written");
    let words = match hook {
        // struct __sk_buff: ifindex is its eleventh word.
        Hook::CgroupIngress | Hook::CgroupEgress => vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ifindex],
        // struct xdp_md: data_end is its second word, ingress_ifindex its fourth.
        Hook::Xdp => vec![0, frame.len() as u32, 0, ifindex, 0, 0],
    };
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    fs::write(&context, bytes).expect("written");
    let script = "ip link add left index 7 type veth peer name right
                  ip link set left group 5
                  bpftool --json prog run pinned \"$0\" data_in \"$1\" ctx_in \"$2\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-e", "-c", script]);
    let pin = pins.join(hook.program_name());
    let said = run(command.arg(pin).arg(data).arg(context));
    let (_, value) = said.split_once("\"retval\":").expect("a result");
    let (digits, _) = value.split_once([',', '}']).expect("an end");
    digits.trim().parse().expect("a number")
}
