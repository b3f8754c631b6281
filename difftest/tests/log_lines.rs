//! The lines made of records, held against those that the kernel prints about the same packets.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::log::book::Book;
use ipt2bpf_codegen::log::line::{LinkHeader, Sight, line};
use ipt2bpf_codegen::log::record::Record;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::constants::{Aim, Constants};
use ipt2bpf_difftest::frame::{Direction, Frame};
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::Netfilter;
use ipt2bpf_difftest::packets::{Packets, seed};
use ipt2bpf_difftest::subjects::ruleset;
use ipt2bpf_difftest::{exceptions, netns};
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::{Enough, Loaded, Ring, TestPacket, interfaces, load};
use nix::fcntl::OFlag;

/// Names that no other line of the kernel log speaks of.
const INTERFACES: [&str; 2] = ["ilog0", "ilog1"];
/// One at a time: there is one log.
static ALONE: Mutex<()> = Mutex::new(());
/// Whether the kernel prints lines for namespaces other than the first.
const ALL_NAMESPACES: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// The kernel's log from now on.
struct KernelLog {
    file: File,
    setting: String,
}

impl KernelLog {
    fn open() -> Result<Self> {
        let setting = fs::read_to_string(ALL_NAMESPACES).context(ALL_NAMESPACES)?;
        fs::write(ALL_NAMESPACES, "1").context(ALL_NAMESPACES)?;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open("/dev/kmsg")
            .context("/dev/kmsg")?;
        file.seek(SeekFrom::End(0)).context("/dev/kmsg")?;
        Ok(KernelLog { file, setting })
    }

    /// The lines about our interfaces that were printed since the last call, with their levels.
    fn lines(&mut self) -> Result<Vec<(u8, String)>> {
        let mut lines = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            let length = match self.file.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(lines),
                Err(error) => return Err(error).context("/dev/kmsg"),
            };
            // Documentation/ABI/testing/dev-kmsg
            let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let (head, text) = entry.split_once(';').context("an entry without a head")?;
            let priority: u32 = head.split(',').next().unwrap_or_default().parse()?;
            let text = text.split('\n').next().unwrap_or_default();
            if INTERFACES
                .iter()
                .any(|name| text.contains(&format!("={name} ")))
            {
                lines.push(((priority & 7) as u8, text.to_owned()));
            }
        }
    }
}

impl Drop for KernelLog {
    fn drop(&mut self) {
        fs::write(ALL_NAMESPACES, &self.setting).ok();
    }
}

/// Whether the test can run here; says why when it cannot.
fn can_run() -> bool {
    let missing = netns::prerequisites().and_then(|()| {
        File::open("/dev/kmsg").context("needs /dev/kmsg")?;
        fs::metadata(ALL_NAMESPACES).context("needs the LOG target")?;
        Ok(())
    });
    match missing {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("skipped: {reason:#}");
            false
        }
    }
}

/// What a program tells, as lines with their levels.
struct Told {
    loaded: Loaded,
    ring: Ring,
    book: Book,
    indices: HashMap<String, u32>,
}

impl Told {
    fn new(family: Family, text: &str) -> Result<Self> {
        let rulesets = [ruleset(family, text)?];
        let options = Options {
            hooks: vec![Hook::Xdp],
            ..Options::default()
        };
        let compiled = compile(&rulesets, &options)
            .map_err(|diagnostics| anyhow::anyhow!("{diagnostics:#?}"))?;
        let loaded = load(&compiled.object)?;
        Ok(Told {
            ring: loaded.maps().ring()?,
            loaded,
            book: Book::new(&rulesets, &CounterLayout::new(&rulesets)),
            indices: interfaces()?
                .into_iter()
                .map(|interface| (interface.name, interface.index))
                .collect(),
        })
    }

    fn lines(&mut self, frame: &Frame) -> Result<Vec<(u8, String)>> {
        let packet = TestPacket {
            frame: &frame.bytes,
            ifindex: self.indices.get(&frame.interface).copied(),
            repeat: 1,
        };
        self.loaded.test_run(Hook::Xdp, &packet)?;
        let mut records = Vec::new();
        self.ring.read(|bytes| {
            records.push(Record::read(bytes));
            Enough::No
        });
        let records = records.into_iter();
        records
            .map(|record| self.line(&record.context("no record")?))
            .collect()
    }

    fn line(&self, record: &Record) -> Result<(u8, String)> {
        let told = self.book.told(record).context("nobody's record")?;
        let name = |index: u32| {
            let found = self.indices.iter().find(|known| *known.1 == index);
            found.map_or("", |(name, _)| name)
        };
        let sight = Sight {
            family: record.family().context("no family")?,
            bytes: &record.bytes,
            length: record.length,
            in_device: name(record.in_index),
            out_device: name(record.out_index),
            link: record
                .link_header
                .map_or(LinkHeader::None, LinkHeader::Ethernet),
            mark: record.mark,
            owner: record.owner,
        };
        let line = line(&told.prefix, &sight, told.details);
        Ok((told.level, String::from_utf8(line)?))
    }
}

/// Frames of all kinds; some of them are ICMP errors that quote others, whole or cut.
fn frames(constants: &Constants, seed: u64) -> impl Iterator<Item = Frame> + '_ {
    let mut random = Rng::with_seed(seed);
    let mut packets = Packets::new(constants, seed);
    std::iter::from_fn(move || {
        let frame = packets.next()?;
        Some(match random.u8(..4) {
            0 => quoting(&mut random, constants.family, &frame),
            _ => frame,
        })
    })
}

fn quoting(random: &mut Rng, family: Family, quoted: &Frame) -> Frame {
    let quoted_packet = quoted.untrimmed();
    let cut = match random.bool() {
        true => quoted_packet.len(),
        false => random.usize(..=quoted_packet.len()),
    };
    let kinds: &[u8] = match family {
        Family::V4 => &[3, 4, 5, 11, 12],
        Family::V6 => &[1, 2, 3, 4],
    };
    let kind = random.choice(kinds).copied().unwrap_or(3);
    let mut message = vec![kind, random.u8(..6), 0, 0];
    message.extend(random.u32(..).to_be_bytes());
    message.extend(&quoted_packet[..cut]);
    let length = message.len() as u16;
    let id = quoted.id().unwrap_or(0);
    let mut packet = match family {
        Family::V4 => {
            let mut header = vec![0x45, 0];
            header.extend((20 + length).to_be_bytes());
            header.extend(id.to_be_bytes());
            header.extend([0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = checksum(&header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            header
        }
        Family::V6 => {
            let mut header = vec![0x60, 0];
            header.extend(id.to_be_bytes());
            header.extend(length.to_be_bytes());
            header.extend([58, 64]);
            for host in [1, 2] {
                header.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            }
            header
        }
    };
    packet.extend(message);
    Frame::received(family, &quoted.interface, &packet)
}

/// Sends frames to both and compares all lines; gives how many there were.
fn compare(family: Family, routing: &Routing, texts: &[String], count: usize) -> Result<usize> {
    let seed = seed()?;
    let aim = |protocol| Aim {
        protocols: vec![protocol],
        ..Aim::default()
    };
    let constants = Constants {
        interfaces: INTERFACES.map(str::to_owned).into(),
        aims: [6, 17, 1, 58, 136, 50, 51].map(aim).into(),
        ..Constants::none(family, Direction::Received)
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut log = KernelLog::open()?;
    netns::isolated(|| {
        let host = Host::new(&constants.interfaces, routing)?;
        let netfilter = Netfilter::new(&host, family)?;
        let mut lines = 0;
        for (round, text) in texts.iter().enumerate() {
            let seed = seed.wrapping_add(round as u64);
            let frames: Vec<Frame> = frames(&constants, seed).take(count).collect();
            let routes = netfilter.route(&frames.iter().collect::<Vec<_>>())?;
            netfilter.load(text)?;
            let mut told = Told::new(family, text)?;
            log.lines()?;
            for (frame, route) in frames.iter().zip(routes) {
                // What the kernel drops between PREROUTING and the next chain is no matter of lines.
                let only_one = *routing == Routing::AllLocal;
                let dropped = !only_one && route.path().is_none();
                let written = !only_one && exceptions::is_written_into(frame);
                if dropped || written || exceptions::is_unknowable(frame, &route) {
                    continue;
                }
                host.inject(frame)?;
                let expected = log.lines()?;
                let found = told.lines(frame)?;
                if exceptions::may_be_counted_unseen(frame) && expected.is_empty() {
                    continue;
                }
                let cut = found.iter().any(|(_, line)| line.ends_with("..."));
                ensure!(
                    found == expected || (cut && all_begin(&expected, &found)),
                    "seed {seed}, {text}\n{frame:02x?}\nfound    {found:#?}\nexpected {expected:#?}"
                );
                lines += found.len();
            }
        }
        Ok(lines)
    })
}

/// Whether the lines are those of the kernel as far as a record goes.
fn all_begin(expected: &[(u8, String)], found: &[(u8, String)]) -> bool {
    let begins = |((_, expected), (_, found)): (&(u8, String), &(u8, String))| {
        expected.starts_with(found.strip_suffix("...").unwrap_or(found))
    };
    expected.len() == found.len() && expected.iter().zip(found).all(begins)
}

#[test]
fn lines_are_the_kernels() {
    if !can_run() {
        return;
    }
    const OPTIONS: [&str; 5] = [
        "--log-tcp-sequence",
        "--log-tcp-options",
        "--log-ip-options",
        "--log-uid",
        "--log-macdecode",
    ];
    let text = |set: u32| {
        let options = OPTIONS.iter().enumerate();
        let options: Vec<&str> = options
            .filter(|(bit, _)| set & (1 << bit) != 0)
            .map(|(_, option)| *option)
            .collect();
        let prefix = [
            "",
            "--log-prefix \"a prefix: \"",
            "--log-prefix 12345678901234567890123456789",
        ];
        let (prefix, level) = (prefix[set as usize % 3], set % 8);
        let options = options.join(" ");
        format!("*raw\n-A PREROUTING -j LOG --log-level {level} {prefix} {options}\nCOMMIT\n")
    };
    let texts: Vec<String> = (0..32).map(text).collect();
    for family in [Family::V4, Family::V6] {
        let lines = compare(family, &Routing::AllLocal, &texts, 60).unwrap();
        assert!(lines > 1000, "only {lines} lines");
    }
}

#[test]
fn forwarded_packets_and_traces_are_told_as_the_kernel_does() {
    if !can_run() {
        return;
    }
    let text = "\
*raw
:own - [0:0]
-A PREROUTING -p udp -j TRACE
-A PREROUTING -p udp -j own
-A PREROUTING -j LOG
-A PREROUTING -p tcp -j TRACE
-A own -j LOG --log-prefix \"own \"
-A own -s 0.0.0.0/1 -j RETURN
COMMIT
*mangle
:other - [0:0]
-A PREROUTING -p udp -j MARK --set-mark 0x7
-A FORWARD -j LOG --log-prefix \"forward \" --log-macdecode
-A FORWARD -g other
-A POSTROUTING -j LOG --log-prefix \"post \"
-A other -p udp
-A other -j RETURN
COMMIT
*filter
:empty - [0:0]
-A FORWARD -j empty
-A FORWARD -p tcp -j RETURN
-A FORWARD -p udp -m udp --dport 0:30000 -j DROP
-A FORWARD -j ACCEPT
-A INPUT -j LOG --log-prefix \"in \"
COMMIT
";
    for family in [Family::V4, Family::V6] {
        let text = match family {
            Family::V4 => text.to_owned(),
            Family::V6 => text.replace("0.0.0.0/1", "::/1"),
        };
        let lines = compare(family, &Routing::transit(), &[text], 400).unwrap();
        assert!(lines > 800, "only {lines} lines");
    }
}
