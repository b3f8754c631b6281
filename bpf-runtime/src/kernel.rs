//! What the running kernel offers.

use std::fs;

use ipt2bpf_codegen::options::{DeviceAccess, KernelVersion};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use crate::btf::Btf;

/// The type information of the running kernel, where it is built with CONFIG_DEBUG_INFO_BTF.
const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Where this kernel keeps what programs look up in its structures; `None` before Linux 6.2, or without
/// type information.
pub fn device_access() -> Option<DeviceAccess> {
    let bytes = fs::read(VMLINUX_BTF).ok()?;
    let btf = Btf::parse(&bytes)?;
    DeviceAccess::new(
        |function| btf.function(function.name()),
        |field| btf.field_offset(field.structure(), field.member()),
    )
}

/// Ticks of the running kernel's clock in a second (CONFIG_HZ): a coarse clock moves with each tick, and
/// says so.
pub fn tick_rate() -> u32 {
    rate_of(clock_getres(ClockId::MonotonicCoarse))
}

/// The tick of the kernel's clock, as `bpf_jiffies64` gives it in its lower half: it began 300 seconds
/// before an overflow (`INITIAL_JIFFIES`, include/linux/jiffies.h).
pub fn jiffies() -> u32 {
    let now = clock_gettime(ClockId::Monotonic);
    let rate = i64::from(tick_rate());
    let ticks = now.tv_sec * rate + now.tv_nsec * rate / 1_000_000_000;
    (ticks - 300 * rate) as u32
}

/// How often such a period fits a second. The kernel rounds it to nanoseconds.
fn rate_of(period: Timespec) -> u32 {
    const SECOND: i64 = 1_000_000_000;
    let nanoseconds = period.tv_sec * SECOND + period.tv_nsec;
    let rate = (SECOND + nanoseconds / 2) / nanoseconds.max(1);
    u32::try_from(rate).unwrap_or(u32::MAX)
}

/// The version of the running kernel, major and minor; `None` where its name does not begin so.
pub fn version() -> Option<(u32, u32)> {
    parse_version(rustix::system::uname().release().to_str().ok()?)
}

/// The running kernel as a target of the compiler; none when its release cannot be read. One older than the
/// oldest that anything is made for counts as that, and then says so itself.
pub fn target() -> Option<KernelVersion> {
    let (major, minor) = version()?;
    let version = KernelVersion::new(major.try_into().ok()?, minor.try_into().ok()?);
    Some(version.max(KernelVersion::BASELINE))
}

/// Reads the beginning of a release like `6.1.0-18-amd64`.
fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Lifts the limit on locked memory, against which kernels before 5.11 count maps and programs. A
/// failure shows when something is loaded, with advice.
pub(crate) fn lift_memory_limit() {
    if version().is_some_and(|version| version < (5, 11)) {
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        let _ = setrlimit(Resource::Memlock, unlimited);
    }
}

#[cfg(test)]
mod tests {
    use super::{Timespec, parse_version, rate_of, tick_rate};

    #[test]
    fn periods_are_those_of_the_kernels_rates() {
        for rate in [100, 250, 300, 1000] {
            // TICK_NSEC of include/linux/jiffies.h.
            let tv_nsec = (1_000_000_000 + i64::from(rate) / 2) / i64::from(rate);
            assert_eq!(rate_of(Timespec { tv_sec: 0, tv_nsec }), rate);
        }
        assert!((24..=10_000).contains(&tick_rate()), "{}", tick_rate());
    }

    #[test]
    fn versions_are_read_from_releases() {
        assert_eq!(parse_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parse_version("5.10.223"), Some((5, 10)));
        assert_eq!(parse_version("6.18-rc1"), Some((6, 18)));
        assert_eq!(parse_version("next"), None);
    }
}
