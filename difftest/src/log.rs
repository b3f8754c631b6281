//! Lines of the kernel's log about packets, and those made of a program's records.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::log::book::Book;
use ipt2bpf_codegen::log::line::{LinkHeader, Sight, line};
use ipt2bpf_codegen::log::record::Record;
use ipt2bpf_parser::ruleset::Ruleset;
use ipt2bpf_runtime::{Enough, Ring, interfaces};
use nix::fcntl::OFlag;

/// Whether the kernel prints lines for namespaces other than the first.
const ALL_NAMESPACES: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// The kernel's log from now on.
pub struct KernelLog {
    file: File,
    setting: String,
    marks: Vec<String>,
}

impl KernelLog {
    /// Lets the kernel print for all namespaces; only lines with one of the marks are ours.
    ///
    /// # Errors
    /// When there is no log, or no LOG target.
    pub fn open(marks: Vec<String>) -> Result<Self> {
        let setting = fs::read_to_string(ALL_NAMESPACES).context(ALL_NAMESPACES)?;
        fs::write(ALL_NAMESPACES, "1").context(ALL_NAMESPACES)?;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open("/dev/kmsg")
            .context("/dev/kmsg")?;
        file.seek(SeekFrom::End(0)).context("/dev/kmsg")?;
        Ok(KernelLog {
            file,
            setting,
            marks,
        })
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// Why not.
    pub fn is_there() -> Result<()> {
        File::open("/dev/kmsg").context("needs /dev/kmsg")?;
        fs::metadata(ALL_NAMESPACES).context("needs the LOG target")?;
        Ok(())
    }

    /// Our lines that were printed since the last call, with their levels.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn lines(&mut self) -> Result<Vec<(u8, String)>> {
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
            if self.marks.iter().any(|mark| text.contains(mark)) {
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

/// What makes lines of records.
pub struct Words {
    book: Book,
    names: HashMap<u32, String>,
}

impl Words {
    /// For some rulesets, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When interfaces cannot be listed.
    pub fn new(rulesets: &[Ruleset]) -> Result<Self> {
        Ok(Words {
            book: Book::new(rulesets, &CounterLayout::new(rulesets)),
            names: interfaces()?
                .into_iter()
                .map(|interface| (interface.index, interface.name))
                .collect(),
        })
    }

    /// The lines of what is in a ring, with their levels.
    ///
    /// # Errors
    /// When something else is in it.
    pub fn read(&self, ring: &mut Ring) -> Result<Vec<(u8, String)>> {
        let mut records = Vec::new();
        ring.read(|bytes| {
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
        let name = |index: u32| self.names.get(&index).map_or("", String::as_str);
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
