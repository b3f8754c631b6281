//! Reading captures: what tcpdump and others write, as the IP packets in it.
//!
//! The formats are those of pcap-savefile(5), in both byte orders and with micro- or nanoseconds, and of
//! pcapng (draft-ietf-opsawg-pcapng). The numbers of link types and the headers in front of packets are
//! those of <https://www.tcpdump.org/linktypes.html>.

use std::time::Duration;

use ipt2bpf_codegen::frame::{header_length, ip_packet, metadata};
use ipt2bpf_codegen::packet::{Devices, Metadata, Packet};
use ipt2bpf_parser::ruleset::Family;
use pcap_parser::{
    Block, InterfaceDescriptionBlock, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGSlice,
    parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
};
use thiserror::Error;

/// Why a capture cannot be read, or not to its end.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// It has no byte.
    #[error("the file is empty")]
    Empty,
    /// It begins as neither format does.
    #[error("this is neither a pcap nor a pcapng file")]
    Unknown,
    /// It ends before its header does.
    #[error("the file ends within its header")]
    NoHeader,
    /// It ends, or its lengths make no sense.
    #[error("the file is cut off or damaged behind packet {0}")]
    Damaged(usize),
    /// What lies in front of packets is not known.
    #[error(
        "packet {packet} has link type {link_type}; known are Ethernet (1), raw IP (101, 228, 229) and Linux \
         cooked (113, 276)"
    )]
    LinkType {
        /// The number of the packet, from 1.
        packet: usize,
        /// The number of its link type.
        link_type: i32,
    },
}

/// One packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When, since 1970 (UTC).
    pub time: Duration,
    /// What it is to netfilter.
    pub content: Content,
}

/// What lies in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A packet that netfilter sees.
    Ip(IpPacket),
    /// Something else, such as ARP.
    NotIp,
    /// An IP packet that the kernel drops before netfilter, or of which not even the header was captured.
    Unseen,
}

/// An IP packet as it was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// The family of its header.
    pub family: Family,
    /// Its bytes from the IP header on. Zeros stand for what the capture has left out.
    pub bytes: Vec<u8>,
    /// How many of them were captured.
    pub captured: usize,
    /// What the link layer says of it.
    pub metadata: Metadata,
    /// The Ethernet header, without tags.
    pub link_header: Option<[u8; 14]>,
}

impl IpPacket {
    /// Its fields.
    pub fn packet(&self) -> Option<Packet<'_>> {
        Packet::new(self.family, &self.bytes, &Devices::default())
    }
}

/// Reads the packets of a capture in order. The last item may be a problem.
///
/// # Errors
/// [`Problem`] when it is no capture at all.
pub fn read(bytes: &[u8]) -> Result<impl Iterator<Item = Result<Captured, Problem>> + '_, Problem> {
    let mut blocks = Blocks::open(bytes)?;
    let mut number = 0;
    let mut over = false;
    Ok(std::iter::from_fn(move || {
        if over {
            return None;
        }
        let frame = blocks.next_frame(number)?;
        number += 1;
        let captured = frame.and_then(|frame| {
            let content = content(&frame).ok_or(Problem::LinkType {
                packet: number,
                link_type: frame.link_type.0,
            })?;
            let time = frame.time;
            Ok(Captured { time, content })
        });
        over = captured.is_err();
        Some(captured)
    }))
}

/// A frame and what the file says of it.
struct Frame<'a> {
    time: Duration,
    link_type: Linktype,
    bytes: &'a [u8],
    /// Its length on the wire.
    length: usize,
}

type Item<'a> = Result<PcapBlockOwned<'a>, pcap_parser::nom::Err<PcapError<&'a [u8]>>>;

/// The blocks of either format.
struct Blocks<'a> {
    items: Box<dyn Iterator<Item = Item<'a>> + 'a>,
    /// Of a pcap file: its link type, and the nanoseconds of a unit of its times.
    header: (Linktype, u32),
    /// Of the current section of a pcapng file.
    interfaces: Vec<Interface>,
    /// Its byte order.
    big_endian: bool,
}

/// An interface of a pcapng file.
#[derive(Clone, Copy)]
struct Interface {
    link_type: Linktype,
    /// Units of its times in a second.
    resolution: u64,
    /// Seconds to add to its times.
    offset: i64,
}

impl<'a> Blocks<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, Problem> {
        const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
        if bytes.is_empty() {
            return Err(Problem::Empty);
        }
        if bytes.starts_with(&SECTION_HEADER) {
            return Ok(Blocks {
                items: Box::new(PcapNGSlice::from_slice(bytes)?),
                header: (Linktype(0), 0),
                interfaces: Vec::new(),
                big_endian: false,
            });
        }
        let (mut rest, header) = parse_pcap_header(bytes)?;
        let parse = match (header.is_modified_format(), header.is_bigendian()) {
            (true, _) => parse_pcap_frame_modified,
            (_, true) => parse_pcap_frame_be,
            (_, false) => parse_pcap_frame,
        };
        let unit = match header.is_nanosecond_precision() {
            true => 1,
            false => 1000,
        };
        let items = std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                let (behind, block) = parse(rest)?;
                rest = behind;
                Ok(PcapBlockOwned::from(block))
            })
        });
        Ok(Blocks {
            items: Box::new(items),
            header: (header.network, unit),
            interfaces: Vec::new(),
            big_endian: false,
        })
    }

    /// The next frame; `number` have been before.
    fn next_frame(&mut self, number: usize) -> Option<Result<Frame<'a>, Problem>> {
        loop {
            let frame = match self.items.next()? {
                Err(_) => return Some(Err(Problem::Damaged(number))),
                Ok(PcapBlockOwned::Legacy(block)) => {
                    let (link_type, unit) = self.header;
                    let nanoseconds = u64::from(block.ts_usec) * u64::from(unit);
                    Some(Frame {
                        time: Duration::from_secs(block.ts_sec.into())
                            + Duration::from_nanos(nanoseconds),
                        // The upper bits tell of checksums behind the frame.
                        link_type: Linktype(link_type.0 & 0xffff),
                        bytes: block.data,
                        length: block.origlen as usize,
                    })
                }
                Ok(PcapBlockOwned::LegacyHeader(_)) => None,
                Ok(PcapBlockOwned::NG(block)) => match self.section(&block) {
                    Ok(frame) => frame,
                    Err(NoInterface) => return Some(Err(Problem::Damaged(number))),
                },
            };
            if let Some(frame) = frame {
                return Some(Ok(frame));
            }
        }
    }

    fn section(&mut self, block: &Block<'a>) -> Result<Option<Frame<'a>>, NoInterface> {
        match block {
            Block::SectionHeader(block) => {
                self.interfaces.clear();
                self.big_endian = block.big_endian();
            }
            Block::InterfaceDescription(block) => {
                let interface = Interface::new(block, self.big_endian);
                self.interfaces.push(interface);
            }
            Block::EnhancedPacket(block) => {
                let interface = self.interfaces.get(block.if_id as usize);
                let interface = interface.ok_or(NoInterface)?;
                let captured = block.data.len().min(block.caplen as usize);
                let units = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                return Ok(Some(Frame {
                    time: interface.time(units),
                    link_type: interface.link_type,
                    bytes: &block.data[..captured],
                    length: block.origlen as usize,
                }));
            }
            Block::SimplePacket(block) => {
                let interface = self.interfaces.first().ok_or(NoInterface)?;
                let length = block.origlen as usize;
                return Ok(Some(Frame {
                    time: Duration::ZERO,
                    link_type: interface.link_type,
                    bytes: &block.data[..block.data.len().min(length)],
                    length,
                }));
            }
            _ => {}
        }
        Ok(None)
    }
}

/// A packet is of an interface that the file does not describe.
struct NoInterface;

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        const MICROSECONDS: u64 = 1_000_000;
        const POWER_OF_TWO: u8 = 0x80;
        let exponent = u32::from(block.if_tsresol & !POWER_OF_TWO);
        let resolution = match block.if_tsresol & POWER_OF_TWO {
            0 => 10u64.checked_pow(exponent),
            _ => 2u64.checked_pow(exponent),
        };
        let mut options = block.options.iter();
        let offset = options
            .find(|option| option.code == OptionCode::IfTsoffset)
            .and_then(|option| option.value.first_chunk());
        Interface {
            link_type: block.linktype,
            resolution: resolution.unwrap_or(MICROSECONDS),
            offset: offset.map_or(0, |&offset| match big_endian {
                true => i64::from_be_bytes(offset),
                false => i64::from_le_bytes(offset),
            }),
        }
    }

    fn time(&self, units: u64) -> Duration {
        let seconds = (units / self.resolution).saturating_add_signed(self.offset);
        let rest = u128::from(units % self.resolution) * 1_000_000_000;
        let nanoseconds = rest / u128::from(self.resolution);
        Duration::new(seconds, nanoseconds as u32)
    }
}

impl<I> From<pcap_parser::nom::Err<PcapError<I>>> for Problem {
    fn from(error: pcap_parser::nom::Err<PcapError<I>>) -> Self {
        match error {
            pcap_parser::nom::Err::Incomplete(_) => Problem::NoHeader,
            _ => Problem::Unknown,
        }
    }
}

/// What a frame holds; none when its link type is not known.
fn content(frame: &Frame<'_>) -> Option<Content> {
    let link = match frame.link_type {
        Linktype::ETHERNET => Link::ethernet(frame.bytes),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => Link::raw(frame.bytes),
        Linktype::LINUX_SLL => Link::cooked(frame.bytes),
        Linktype::LINUX_SLL2 => Link::cooked2(frame.bytes),
        _ => return None,
    };
    Some(match link {
        None => Content::Unseen,
        Some(link) => link.content(frame),
    })
}

/// What lies in front of a packet.
struct Link {
    /// Bytes.
    length: usize,
    /// The type of what follows, as Ethernet numbers it.
    ethertype: [u8; 2],
    metadata: Metadata,
    header: Option<[u8; 14]>,
    /// Whether it is for another host, so that the kernel drops it.
    is_foreign: bool,
}

/// The type of IPv4 in Ethernet headers.
const IPV4: [u8; 2] = [0x08, 0x00];
/// The type of IPv6.
const IPV6: [u8; 2] = [0x86, 0xdd];
/// The loopback interface, on which no address is out of place.
const LOOPBACK_IFINDEX: u32 = 1;
/// Any other.
const OTHER_IFINDEX: u32 = 2;

impl Link {
    fn ethernet(bytes: &[u8]) -> Option<Self> {
        let length = header_length(bytes)?;
        let ethertype = *bytes.get(length - 2..)?.first_chunk()?;
        let mut header: [u8; 14] = *bytes.first_chunk()?;
        header[12..].copy_from_slice(&ethertype);
        Some(Link {
            length,
            ethertype,
            metadata: metadata(bytes, OTHER_IFINDEX),
            header: Some(header),
            is_foreign: false,
        })
    }

    fn raw(bytes: &[u8]) -> Option<Self> {
        Some(Link {
            length: 0,
            ethertype: match bytes.first()? >> 4 {
                6 => IPV6,
                _ => IPV4,
            },
            metadata: Metadata::default(),
            header: None,
            is_foreign: false,
        })
    }

    /// `LINKTYPE_LINUX_SLL`
    fn cooked(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; 16] = bytes.first_chunk()?;
        Some(Link {
            length: header.len(),
            ethertype: [header[14], header[15]],
            ..Link::of_socket(header[1], &header[2..6], &header[6..14])
        })
    }

    /// `LINKTYPE_LINUX_SLL2`
    fn cooked2(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let hardware = [header[8], header[9], 0, header[11]];
        Some(Link {
            length: header.len(),
            ethertype: [header[0], header[1]],
            ..Link::of_socket(header[10], &hardware, &header[12..20])
        })
    }

    /// What packet(7) tells: the packet's type, the types of the hardware and the length of its addresses,
    /// two bytes each, and the sender's address.
    fn of_socket(packet_type: u8, hardware: &[u8], address: &[u8]) -> Self {
        const ETHERNET: [u8; 4] = [0, 1, 0, 6];
        const LAST_OF_ARRIVING: u8 = 2;
        const OTHER_HOST: u8 = 3;
        let ethernet = hardware == ETHERNET;
        Link {
            length: 0,
            ethertype: [0; 2],
            metadata: Metadata {
                packet_type: match packet_type {
                    0..=LAST_OF_ARRIVING => packet_type,
                    _ => 0,
                },
                source_mac: address.first_chunk().copied().filter(|_| ethernet),
                ethernet,
                ..Metadata::default()
            },
            header: None,
            is_foreign: packet_type == OTHER_HOST,
        }
    }

    fn content(self, frame: &Frame<'_>) -> Content {
        let captured = &frame.bytes[self.length.min(frame.bytes.len())..];
        if ![IPV4, IPV6].contains(&self.ethertype) {
            return Content::NotIp;
        }
        // A little more than a packet can have: lengths that files claim are not to be trusted.
        const MOST: usize = 1 << 17;
        let length = frame.length.saturating_sub(self.length).min(MOST);
        let mut whole = [&[0; 12], &self.ethertype[..], captured].concat();
        let missing = length.saturating_sub(captured.len());
        whole.resize(whole.len() + missing, 0);
        match ip_packet(&whole, LOOPBACK_IFINDEX) {
            Some((family, packet)) if !self.is_foreign && captured.len() >= header(family) => {
                Content::Ip(IpPacket {
                    family,
                    bytes: packet.to_vec(),
                    captured: captured.len().min(packet.len()),
                    metadata: self.metadata,
                    link_header: self.header,
                })
            }
            _ => Content::Unseen,
        }
    }
}

/// The bytes of the least IP header.
fn header(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of the only packet, of which nothing is there, in a pcapng file with these options of its
    /// interface.
    fn time(options: &[u8], units: u64) -> Duration {
        let block = |kind: u32, body: &[u8]| {
            let length = (body.len() as u32 + 12).to_le_bytes();
            [&kind.to_le_bytes(), &length, body, &length].concat()
        };
        let section = [&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat();
        let interface = [&[1, 0, 0, 0, 0, 0, 0, 0], options].concat();
        let (high, low) = ((units >> 32) as u32, units as u32);
        let packet = [0, high, low, 0, 0].map(u32::to_le_bytes).concat();
        let file = [
            block(0x0a0d_0d0a, &section),
            block(1, &interface),
            block(6, &packet),
        ]
        .concat();
        let captured: Vec<_> = read(&file).unwrap().collect();
        assert_eq!(captured.len(), 1);
        let captured = captured[0].as_ref().unwrap();
        assert_eq!(captured.content, Content::Unseen);
        captured.time
    }

    #[test]
    fn times_are_in_the_units_of_their_interface() {
        assert_eq!(time(&[], 7_500_000), Duration::from_millis(7500));
        let resolution = |value| [9, 0, 1, 0, value, 0, 0, 0];
        assert_eq!(time(&resolution(3), 7500), Duration::from_millis(7500));
        let two_to_the_tenth = resolution(0x80 | 10);
        assert_eq!(time(&two_to_the_tenth, 7680), Duration::from_millis(7500));
        let offset = [14, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(time(&offset, 1_000_000), Duration::from_secs(6));
    }

    #[test]
    fn packets_for_other_hosts_are_not_seen() {
        let mut packet = vec![0; 16 + 40];
        packet[14..16].copy_from_slice(&IPV6);
        packet[16] = 0x60;
        packet[16 + 6] = 59;
        let content = |packet_type, packet: &mut Vec<u8>| {
            packet[1] = packet_type;
            content(&Frame {
                time: Duration::ZERO,
                link_type: Linktype::LINUX_SLL,
                bytes: packet,
                length: packet.len(),
            })
        };
        for packet_type in [0, 1, 2, 4] {
            let Some(Content::Ip(packet)) = content(packet_type, &mut packet) else {
                panic!("{packet_type}");
            };
            assert_eq!(packet.metadata.packet_type, packet_type % 4);
        }
        assert_eq!(content(3, &mut packet), Some(Content::Unseen));
    }
}
