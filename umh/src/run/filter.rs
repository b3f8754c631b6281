//! Which system calls are taken from the kernel: a classic BPF program over their registers.
//!
//! At SOL_IP and SOL_IPV6 the options of iptables (linux/netfilter_ipv4/ip_tables.h,
//! linux/netfilter_ipv6/ip6_tables.h), and opening files to read, among which are the lists of tables in
//! /proc. All decisions are made from registers; no memory of the caller is looked at.

use libc::sock_filter;

use crate::xtables::{COUNTERS_OR_ENTRIES, REPLACE_OR_INFO, revision_options};
use ipt2bpf_parser::ruleset::Family;

/// `SOL_IP` and `SOL_IPV6`.
pub fn level(family: Family) -> u32 {
    match family {
        Family::V4 => libc::SOL_IP as u32,
        Family::V6 => libc::SOL_IPV6 as u32,
    }
}

/// Where `struct seccomp_data` has the number of the call, the architecture, and the lower half of an
/// argument (linux/seccomp.h; little-endian).
const CALL: u32 = 0;
const ARCH: u32 = 4;

fn argument(number: u32) -> u32 {
    16 + 8 * number
}

/// `AUDIT_ARCH_*` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const NATIVE: u32 = 0xc000_00f3;

/// The architecture and the calls by which 32-bit programs would reach the same options with another
/// layout: `socketcall`, `getsockopt`, `setsockopt` of i386.
#[cfg(target_arch = "x86_64")]
const FOREIGN: Option<(u32, &[u32])> = Some((0x4000_0003, &[102, 365, 366]));
#[cfg(target_arch = "aarch64")]
const FOREIGN: Option<(u32, &[u32])> = Some((0x4000_0028, &[294, 295]));
#[cfg(target_arch = "riscv64")]
const FOREIGN: Option<(u32, &[u32])> = None;

/// From here on numbers of calls are those of x32.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Assembles the program.
pub fn program() -> Vec<sock_filter> {
    let mut code = Code::default();
    if let Some((arch, calls)) = FOREIGN {
        code.when(&[(ARCH, arch)], CALL, calls, refuse());
    }
    // What else is not native has no iptables that we know.
    code.load(ARCH);
    code.unless(libc::BPF_JEQ, NATIVE, libc::SECCOMP_RET_ALLOW);
    #[cfg(target_arch = "x86_64")]
    {
        code.load(CALL);
        code.jump(libc::BPF_JGE, X32, 0, 1);
        code.end(refuse());
    }
    let notify = libc::SECCOMP_RET_USER_NOTIF;
    for family in [Family::V4, Family::V6] {
        let set = [REPLACE_OR_INFO, COUNTERS_OR_ENTRIES];
        let get = [&set[..], &revision_options(family)].concat();
        for (call, options) in [
            (libc::SYS_setsockopt, &set[..]),
            (libc::SYS_getsockopt, &get),
        ] {
            let level = (argument(1), level(family));
            code.when(&[(CALL, call as u32), level], argument(2), options, notify);
        }
    }
    let to_read = [libc::O_RDONLY as u32, libc::O_CLOEXEC as u32];
    let open = (CALL, libc::SYS_openat as u32);
    code.when(&[open], argument(2), &to_read, notify);
    code.end(libc::SECCOMP_RET_ALLOW);
    code.0
}

fn refuse() -> u32 {
    libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32
}

/// Instructions.
#[derive(Default)]
struct Code(Vec<sock_filter>);

impl Code {
    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) {
        let code = code as u16;
        self.0.push(sock_filter { code, jt, jf, k });
    }

    fn load(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    }

    /// Skips so many instructions when the comparison holds, or when it does not.
    fn jump(&mut self, comparison: u32, value: u32, holds: u8, fails: u8) {
        let code = libc::BPF_JMP | comparison | libc::BPF_K;
        self.push(code, holds, fails, value);
    }

    fn end(&mut self, action: u32) {
        self.push(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    }

    fn unless(&mut self, comparison: u32, value: u32, action: u32) {
        self.jump(comparison, value, 1, 0);
        self.end(action);
    }

    /// The action, when all conditions hold (what is at an offset, and its value) and what is at another offset is
    /// one of some values.
    fn when(&mut self, conditions: &[(u32, u32)], offset: u32, values: &[u32], action: u32) {
        // Behind a condition come the others, two instructions each, then a load and two for each value.
        let length = 2 * conditions.len() + 1 + 2 * values.len();
        for (number, &(offset, value)) in conditions.iter().enumerate() {
            self.load(offset);
            let rest = length - 2 * (number + 1);
            self.jump(libc::BPF_JEQ, value, 0, rest as u8);
        }
        self.load(offset);
        for &value in values {
            self.jump(libc::BPF_JEQ, value, 0, 1);
            self.end(action);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program, as the kernel would, on the words of `struct seccomp_data`.
    fn verdict(arch: u32, call: i64, arguments: [u32; 3]) -> u32 {
        let program = program();
        let load = |offset: u32| match offset {
            CALL => call as u32,
            ARCH => arch,
            offset => arguments[(offset as usize - 16) / 8],
        };
        let (mut at, mut value) = (0, 0);
        loop {
            let it = program[at];
            at += 1;
            match u32::from(it.code) & 7 {
                libc::BPF_LD => value = load(it.k),
                libc::BPF_RET => return it.k,
                _ => {
                    let holds = match u32::from(it.code) & 0xf0 {
                        libc::BPF_JEQ => value == it.k,
                        _ => value >= it.k,
                    };
                    at += usize::from(if holds { it.jt } else { it.jf });
                }
            }
        }
    }

    #[test]
    fn exactly_the_options_of_iptables_are_taken() {
        let notify = libc::SECCOMP_RET_USER_NOTIF;
        let taken = |call, level: u32| -> Vec<u32> {
            let options = 0..200;
            options
                .filter(|&option| verdict(NATIVE, call, [3, level, option]) == notify)
                .collect()
        };
        assert_eq!(taken(libc::SYS_setsockopt, 0), [64, 65]);
        assert_eq!(taken(libc::SYS_setsockopt, 41), [64, 65]);
        assert_eq!(taken(libc::SYS_getsockopt, 0), [64, 65, 66, 67]);
        assert_eq!(taken(libc::SYS_getsockopt, 41), [64, 65, 68, 69]);
        assert_eq!(taken(libc::SYS_getsockopt, 1), [0; 0]);
        assert_eq!(taken(libc::SYS_openat, 41), [0]);
        assert_eq!(taken(libc::SYS_read, 0), [0; 0]);
        let close = libc::O_CLOEXEC as u32;
        assert_eq!(verdict(NATIVE, libc::SYS_openat, [3, 0, close]), notify);
    }

    #[test]
    fn other_layouts_are_refused() {
        if let Some((arch, calls)) = FOREIGN {
            for &call in calls {
                assert_eq!(verdict(arch, call.into(), [3, 0, 64]), refuse());
            }
            assert_eq!(verdict(arch, 3, [3, 0, 64]), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(
            verdict(0xc000_0015, 102, [3, 0, 64]),
            libc::SECCOMP_RET_ALLOW
        );
        #[cfg(target_arch = "x86_64")]
        assert_eq!(verdict(NATIVE, i64::from(X32) + 541, [3, 0, 64]), refuse());
    }
}
