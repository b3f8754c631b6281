//! What rules tell of packets, from the ring of one object to the lines that the kernel's log would have.

use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::log::book::{Book, Told};
use ipt2bpf_codegen::log::line::{LinkHeader, Sight, line};
use ipt2bpf_codegen::log::record::Record;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};

use crate::devices::{Interface, LinkLayer, interfaces, link_layer};
use crate::error::Error;
use crate::maps::Maps;
use crate::ring::{Enough, Ring};

/// The ring of one object, with what its rules are.
pub struct Log {
    maps: Maps,
    ring: Ring,
    book: Book,
    /// How many lost records were spoken of.
    lost: u64,
}

impl Log {
    /// None when no rule of the object tells anything.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn open(maps: Maps) -> Result<Option<Log>, Error> {
        let ring = match maps.ring() {
            Ok(ring) => ring,
            Err(Error::NoMap { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut sources = Sources::default();
        let text = maps.rules_text()?;
        let id = sources.add("rules", text.clone());
        let rulesets = parse(&sources, id, &ParseOptions::default()).rulesets;
        let layout = CounterLayout::of_text(&rulesets, &text);
        Ok(Some(Log {
            maps,
            ring,
            book: Book::new(&rulesets, &layout),
            lost: 0,
        }))
    }

    /// The ring, to wait for.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Hands on what is there until it is enough. Returns how many records were lost since the last time.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn read(&mut self, mut take: impl FnMut(&Record, &Told) -> Enough) -> Result<u64, Error> {
        self.ring.read(|bytes| {
            // Of a program that the text does not belong to, nothing can be said.
            let Some(record) = Record::read(bytes) else {
                return Enough::No;
            };
            match self.book.told(&record) {
                Some(told) => take(&record, &told),
                None => Enough::No,
            }
        });
        let lost = self.maps.lost_records()?;
        Ok(lost - std::mem::replace(&mut self.lost, lost).min(lost))
    }
}

/// The names of interfaces, for lines.
pub struct LogNames {
    interfaces: Vec<Interface>,
}

impl LogNames {
    /// Those of the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new() -> Result<LogNames, Error> {
        let interfaces = interfaces()?;
        Ok(LogNames { interfaces })
    }

    /// The line of a record, without its end; none for a packet of neither family.
    ///
    /// # Errors
    /// As [`LogNames::new`].
    pub fn line(&mut self, record: &Record, told: &Told) -> Result<Option<Vec<u8>>, Error> {
        let Some(family) = record.family() else {
            return Ok(None);
        };
        let in_device = self.name(record.in_index, &record.in_name)?;
        let out_device = self.name(record.out_index, &record.out_name)?;
        let link = match (record.link_header, link_layer(&in_device)) {
            (Some(header), Some(LinkLayer::Ethernet)) => LinkHeader::Ethernet(header),
            (Some(header), Some(LinkLayer::Loopback)) => LinkHeader::Plain(header),
            _ => LinkHeader::None,
        };
        let sight = Sight {
            family,
            bytes: &record.bytes,
            length: record.length,
            in_device: &in_device,
            out_device: &out_device,
            link,
            mark: record.mark,
            owner: record.owner,
        };
        Ok(Some(line(&told.prefix, &sight, told.details)))
    }

    /// The name of an interface: the program's where it knows it, else that of this namespace.
    fn name(&mut self, index: u32, known: &str) -> Result<String, Error> {
        if index == 0 || !known.is_empty() {
            return Ok(known.to_owned());
        }
        let find = |interfaces: &[Interface]| {
            let found = interfaces.iter().find(|interface| interface.index == index);
            found.map(|interface| interface.name.clone())
        };
        if let Some(name) = find(&self.interfaces) {
            return Ok(name);
        }
        self.interfaces = interfaces()?;
        Ok(find(&self.interfaces).unwrap_or_else(|| format!("if{index}")))
    }
}
