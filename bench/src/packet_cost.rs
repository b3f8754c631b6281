//! What a packet costs a program, by test runs in the kernel.

use anyhow::{Context, Result, ensure};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_runtime::{Loaded, TestPacket, Traffic};
use serde::{Deserialize, Serialize};

use crate::effort::Effort;
use crate::measure::{median, timed};
use crate::oracle::Header;
use crate::packets::ethernet;
use crate::rules::Verdict;
use crate::yardsticks;

/// One packet in so many of a round goes before it, to fill caches again.
const WARM_UP: u32 = 8;
/// `XDP_DROP` and `XDP_PASS`.
const DROP: u32 = 1;
const PASS: u32 = 2;

/// The programs to measure against.
pub struct Yardsticks {
    empty: Loaded,
    parsing: Loaded,
}

/// Nanoseconds for a packet. What it costs to bring each packet before the program is taken off: it is
/// what the empty program takes longer with it than without.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PacketCost {
    /// The empty program.
    pub empty_ns: f64,
    /// A program that reads the headers.
    pub parse_ns: f64,
    /// The filter.
    pub filter_ns: f64,
    /// The filter to the one that reads the headers, as the median over the rounds.
    pub ratio: f64,
}

impl Yardsticks {
    /// Loads them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load() -> Result<Yardsticks> {
        Ok(Yardsticks {
            empty: yardsticks::empty()?,
            parsing: yardsticks::parsing()?,
        })
    }

    /// Measures a filter on packets, in rounds beside the yardsticks.
    ///
    /// # Errors
    /// When a run fails.
    pub fn measure(
        &self,
        filter: &Loaded,
        traffic: &Traffic,
        frame: &[u8],
        effort: &Effort,
    ) -> Result<PacketCost> {
        let packets = effort.packets;
        let each = |ns: f64| ns / f64::from(packets);
        let behind = |target: &Loaded| -> Result<f64> {
            traffic.lead_to(target)?;
            traffic.run(packets / WARM_UP)?;
            Ok(each(timed(|| Ok(traffic.run(packets)?))?.0))
        };
        let mut rounds = Vec::with_capacity(effort.rounds);
        for _ in 0..effort.rounds {
            let packet = TestPacket {
                frame,
                ifindex: None,
                repeat: packets,
            };
            let bare = || Ok(self.empty.test_run(Hook::Xdp, &packet)?);
            let empty_ns = each(timed(bare)?.0);
            let feeding = behind(&self.empty)? - empty_ns;
            let parse_ns = behind(&self.parsing)? - feeding;
            let filter_ns = behind(filter)? - feeding;
            rounds.push(PacketCost {
                empty_ns,
                parse_ns,
                filter_ns,
                ratio: filter_ns / parse_ns,
            });
        }
        let over = |figure: fn(&PacketCost) -> f64| median(rounds.iter().map(figure));
        Ok(PacketCost {
            empty_ns: over(|it| it.empty_ns),
            parse_ns: over(|it| it.parse_ns),
            filter_ns: over(|it| it.filter_ns),
            ratio: over(|it| it.ratio),
        })
    }
}

/// Packets of the generator, ready to be given to programs.
///
/// # Errors
/// When the kernel refuses.
pub fn traffic(packets: &[Header]) -> Result<Traffic> {
    let bytes: Vec<Vec<u8>> = packets.iter().map(Header::bytes).collect();
    Ok(Traffic::new(&ethernet(), &bytes)?)
}

/// Holds a filter to what is expected of it, packet by packet.
///
/// # Errors
/// When it differs, or a run fails.
pub fn check(filter: &Loaded, expected: impl Iterator<Item = (Header, Verdict)>) -> Result<usize> {
    let mut count = 0;
    for (header, verdict) in expected {
        let packet = TestPacket {
            frame: &header.frame(),
            ifindex: None,
            repeat: 1,
        };
        let run = filter
            .test_run(Hook::Xdp, &packet)
            .context("the filter does not run")?;
        let expected = match verdict {
            Verdict::Accept => PASS,
            Verdict::Drop => DROP,
        };
        ensure!(
            run.retval == expected,
            "the filter returns {}, not {expected}, for {header:?}",
            run.retval
        );
        count += 1;
    }
    Ok(count)
}
