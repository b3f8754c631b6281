//! Running a loaded program on a packet of one's own, without any traffic.

use std::time::Duration;

use ipt2bpf_codegen::module::Hook;

use crate::error::{Error, Step};
use crate::load::Loaded;

/// What a test run gives to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestPacket<'a> {
    /// The frame from its Ethernet header on, at every hook; at least 14 bytes. The kernel takes the
    /// EtherType from it and, for cgroup_skb programs, starts the packet behind it.
    pub frame: &'a [u8],
    /// The interface the packet seems to come from (ingress, XDP) or to leave by (egress), in the
    /// network namespace of the calling thread; `None` leaves it to the kernel, which takes the
    /// loopback interface. For XDP this needs Linux 5.15.
    pub ifindex: Option<u32>,
    /// How often the program runs on it, at least once; the duration is the mean.
    pub repeat: u32,
}

/// The outcome of a test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned, of the last run. Its meaning depends on the [`Hook`].
    pub retval: u32,
    /// The mean time of one run, in whole nanoseconds.
    pub duration: Duration,
    /// The frame as the program has left it; for cgroup_skb programs without its Ethernet header.
    pub frame: Vec<u8>,
}

/// How much longer a program can make a frame: what the kernel leaves before it (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;

impl Loaded {
    /// Runs the program of a hook on a packet (`BPF_PROG_TEST_RUN`). The counters count it.
    ///
    /// # Errors
    /// [`Error::NoProgram`], or [`Error::Refused`] for frames the kernel does not take and interfaces
    /// that do not exist.
    pub fn test_run(&self, hook: Hook, packet: &TestPacket<'_>) -> Result<TestRun, Error> {
        let program = self.program(hook)?;
        let context = packet
            .ifindex
            .map(|ifindex| context(hook, packet.frame.len(), ifindex))
            .unwrap_or_default();
        let mut frame = vec![0; packet.frame.len() + HEADROOM];
        let result = program
            .test_run(packet.frame, &context, packet.repeat.max(1), &mut frame)
            .map_err(Error::refused(Step::TestRun(hook)))?;
        frame.truncate(result.length as usize);
        Ok(TestRun {
            frame,
            retval: result.retval,
            duration: Duration::from_nanos(result.duration.into()),
        })
    }
}

/// The beginning of the context struct, as far as the interface; the kernel takes the rest as zero
/// (net/bpf/test_run.c, `bpf_ctx_init`).
pub(crate) fn context(hook: Hook, frame: usize, ifindex: u32) -> Vec<u8> {
    match hook {
        // struct __sk_buff: ingress_ifindex and ifindex are its tenth and eleventh word.
        Hook::CgroupIngress | Hook::CgroupEgress => {
            let mut words = [0u32; 11];
            words[10] = ifindex;
            words.iter().flat_map(|word| word.to_ne_bytes()).collect()
        }
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        Hook::Xdp => [0, frame as u32, 0, ifindex, 0, 0]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect(),
    }
}
