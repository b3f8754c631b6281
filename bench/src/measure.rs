//! Time, on a machine that others use as well.
//!
//! The work runs on one processor, and what counts is the time that the thread itself had it: others make
//! the run longer, not the figures. What is compared takes turns, in short rounds, so that what
//! they do to caches and clocks meets all alike; figures are medians over the rounds.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The priority that disturbs least, and needs root (nice(2)).
const NICE: i32 = -20;

/// Keeps the calling thread on the last processor that it may use: interrupts prefer the first.
///
/// # Errors
/// When the kernel refuses.
pub fn stay_on_one_processor() -> Result<()> {
    let allowed = sched_getaffinity(None).context("cannot ask for processors")?;
    let last = (0..CpuSet::MAX_CPU).rfind(|&cpu| allowed.is_set(cpu));
    let mut one = CpuSet::new();
    one.set(last.context("there is no processor")?);
    sched_setaffinity(None, &one).context("cannot stay on a processor")?;
    setpriority_process(None, NICE).context("cannot go first")
}

/// How long the calling thread has run.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// How long the calling thread works on something, in nanoseconds.
///
/// # Errors
/// Those of the work.
pub fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = thread_time();
    let result = work()?;
    Ok(((thread_time() - start).as_nanos() as f64, result))
}

/// The middle of some figures; of two in the middle, the greater. NaN of none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert!(median([]).is_nan());
    }

    #[test]
    fn only_work_counts() {
        let pause = Duration::from_millis(50);
        let (idle, ()) = timed(|| {
            std::thread::sleep(pause);
            Ok(())
        })
        .expect("a pause");
        assert!(idle < pause.as_nanos() as f64 / 2.0, "{idle}");
    }
}
