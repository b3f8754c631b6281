//! The line that the kernel's LOG target prints about a packet.
//!
//! It is written to be compared with net/netfilter/nf_log_syslog.c (as of Linux 6.18) by eye: words,
//! their order and spaces, and where a dump ends early are the kernel's.

use std::fmt;
use std::net::Ipv4Addr;

use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::targets::log::Log;

use super::audit;

/// The longest line: the kernel's buffer holds 1,018 bytes, two of which say the level (`S_SIZE`,
/// net/netfilter/nf_log.c).
const LONGEST: usize = 1016;

/// What a line ends with where the record ends before what the kernel would have printed.
const CUT: &str = "...";

/// What a line tells beyond the usual (`NF_LOG_*`, include/uapi/linux/netfilter/nf_log.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Sequence numbers of TCP.
    pub tcp_sequence: bool,
    /// Options of TCP.
    pub tcp_options: bool,
    /// Options of IPv4, extension headers of IPv6.
    pub ip_options: bool,
    /// The user and the group that have opened the packet's socket.
    pub owner: bool,
    /// The parts of the Ethernet header by their names.
    pub mac_decode: bool,
    /// Nothing of all that, but the record that `-j AUDIT` makes.
    pub audit: bool,
}

impl Details {
    /// What the kernel tells of packets that it traces (`NF_LOG_DEFAULT_MASK`).
    pub const TRACE: Details = Details {
        tcp_sequence: true,
        tcp_options: true,
        ip_options: true,
        owner: true,
        mac_decode: false,
        audit: false,
    };
}

impl From<&Log> for Details {
    fn from(log: &Log) -> Self {
        Details {
            tcp_sequence: log.tcp_sequence,
            tcp_options: log.tcp_options,
            ip_options: log.ip_options,
            owner: log.uid,
            mac_decode: log.mac_decode,
            audit: false,
        }
    }
}

/// The link layer's header of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkHeader {
    /// The interface has none.
    None,
    /// An Ethernet header on an interface that is no Ethernet interface, such as the loopback interface.
    Plain([u8; 14]),
    /// That of an Ethernet interface.
    Ethernet([u8; 14]),
}

/// Who has opened a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// What there is to tell about a packet.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Its family.
    pub family: Family,
    /// Its first bytes, from the IP header on.
    pub bytes: &'a [u8],
    /// Its length from the IP header on.
    pub length: u32,
    /// The name of the receiving interface, empty where there is none.
    pub in_device: &'a str,
    /// The name of the sending interface, likewise.
    pub out_device: &'a str,
    /// What lies in front of a received packet.
    pub link: LinkHeader,
    /// Its mark.
    pub mark: u32,
    /// Who has opened its socket, where that is known.
    pub owner: Option<Owner>,
}

/// The line, without its level and without a newline.
pub fn line(prefix: &[u8], sight: &Sight<'_>, details: Details) -> Vec<u8> {
    if details.audit {
        return [prefix, audit::record(sight).as_bytes()].concat();
    }
    let mut writer = Writer {
        text: String::new(),
        sight,
        details,
    };
    writer.devices();
    let end = match sight.family {
        Family::V4 => writer.ipv4(0, Depth::Packet),
        Family::V6 => writer.ipv6(0, Depth::Packet),
    };
    if end == Err(Stop::Cut) {
        writer.text.push_str(CUT);
    }
    let mut line = prefix.to_vec();
    line.extend(writer.text.bytes());
    line.truncate(LONGEST);
    line
}

/// Why the dump of a packet ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The kernel says no more about it.
    Ended,
    /// What the kernel would say is not in the record.
    Cut,
}

/// Whether a packet is the one to tell of or is quoted in it by ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Packet,
    Quoted,
}

struct Writer<'a> {
    text: String,
    sight: &'a Sight<'a>,
    details: Details,
}

impl Writer<'_> {
    fn add(&mut self, words: fmt::Arguments<'_>) {
        match words.as_str() {
            Some(words) => self.text.push_str(words),
            None => self.text.push_str(&words.to_string()),
        }
    }

    /// Bytes of the packet; none when it ends before them.
    fn bytes<const N: usize>(&self, at: usize) -> Result<Option<[u8; N]>, Stop> {
        let bytes = self.range(at, N)?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()))
    }

    fn range(&self, at: usize, count: usize) -> Result<Option<&[u8]>, Stop> {
        if at + count > self.sight.length as usize {
            return Ok(None);
        }
        let bytes = self.sight.bytes.get(at..at + count);
        bytes.map(Some).ok_or(Stop::Cut)
    }

    /// How many bytes follow, by the kernel's arithmetic, which does not look whether any do.
    fn rest(&self, at: usize) -> u32 {
        self.sight.length.wrapping_sub(at as u32)
    }

    fn incomplete(&mut self, at: usize) {
        let rest = self.rest(at);
        self.add(format_args!("INCOMPLETE [{rest} bytes] "));
    }

    fn hex(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(format_args!("{byte:02X}"));
        }
    }

    fn devices(&mut self) {
        let Sight {
            in_device,
            out_device,
            link,
            ..
        } = *self.sight;
        self.add(format_args!("IN={in_device} OUT={out_device} "));
        if in_device.is_empty() {
            return;
        }
        match link {
            LinkHeader::None => self.add(format_args!("MAC= ")),
            LinkHeader::Ethernet(header) if self.details.mac_decode => {
                let (source, destination) = (colons(&header[6..12]), colons(&header[..6]));
                let protocol = be16(&header, 12);
                self.add(format_args!(
                    "MACSRC={source} MACDST={destination} MACPROTO={protocol:04x} "
                ));
            }
            LinkHeader::Plain(header) | LinkHeader::Ethernet(header) => {
                self.add(format_args!("MAC={} ", colons(&header)));
            }
        }
    }

    fn ipv4(&mut self, at: usize, depth: Depth) -> Result<(), Stop> {
        let Some(header) = self.bytes::<20>(at)? else {
            self.add(format_args!("TRUNCATED"));
            return Err(Stop::Ended);
        };
        let address = |at: usize| Ipv4Addr::from(be32(&header, at));
        self.add(format_args!("SRC={} DST={} ", address(12), address(16)));
        let length = match be16(&header, 2) {
            // What segmentation is left to do may be longer than the field can say.
            0 if self.sight.length > u32::from(u16::MAX) => self.sight.length,
            length => length.into(),
        };
        let (tos, prec) = (header[1] & 0x1e, header[1] & 0xe0);
        let (ttl, id) = (header[8], be16(&header, 4));
        self.add(format_args!(
            "LEN={length} TOS=0x{tos:02X} PREC=0x{prec:02X} TTL={ttl} ID={id} "
        ));
        let fragment = be16(&header, 6);
        for (bit, word) in [(0x8000, "CE "), (0x4000, "DF "), (0x2000, "MF ")] {
            if fragment & bit != 0 {
                self.add(format_args!("{word}"));
            }
        }
        let offset = fragment & 0x1fff;
        if offset != 0 {
            self.add(format_args!("FRAG:{offset} "));
        }
        let header_length = 4 * usize::from(header[0] & 15);
        if self.details.ip_options && header_length > 20 {
            let Some(options) = self.range(at + 20, header_length - 20)? else {
                self.add(format_args!("TRUNCATED"));
                return Err(Stop::Ended);
            };
            let options = options.to_vec();
            self.add(format_args!("OPT ("));
            self.hex(&options);
            self.add(format_args!(") "));
        }
        let transport = at + header_length;
        match header[9] {
            6 => self.tcp(transport, offset != 0)?,
            17 => self.udp("UDP", transport, offset != 0)?,
            136 => self.udp("UDPLITE", transport, offset != 0)?,
            1 => self.icmp4(transport, offset != 0, depth)?,
            51 if offset != 0 => {}
            51 => {
                self.add(format_args!("PROTO=AH "));
                match self.bytes::<12>(transport)? {
                    Some(header) => self.add(format_args!("SPI=0x{:x} ", be32(&header, 4))),
                    None => self.incomplete(transport),
                }
            }
            50 => {
                self.add(format_args!("PROTO=ESP "));
                if offset == 0 {
                    match self.bytes::<8>(transport)? {
                        Some(header) => self.add(format_args!("SPI=0x{:x} ", be32(&header, 0))),
                        None => self.incomplete(transport),
                    }
                }
            }
            protocol => self.add(format_args!("PROTO={protocol} ")),
        }
        self.socket_and_mark(depth);
        Ok(())
    }

    fn tcp(&mut self, at: usize, later_fragment: bool) -> Result<(), Stop> {
        self.add(format_args!("PROTO=TCP "));
        if later_fragment {
            return Ok(());
        }
        let Some(header) = self.bytes::<20>(at)? else {
            self.incomplete(at);
            return Err(Stop::Ended);
        };
        self.add(format_args!(
            "SPT={} DPT={} ",
            be16(&header, 0),
            be16(&header, 2)
        ));
        if self.details.tcp_sequence {
            let (sequence, acknowledged) = (be32(&header, 4), be32(&header, 8));
            self.add(format_args!("SEQ={sequence} ACK={acknowledged} "));
        }
        let reserved = (header[12] & 0x0e) << 2;
        let window = be16(&header, 14);
        self.add(format_args!("WINDOW={window} RES=0x{reserved:02x} "));
        if header[12] & 1 != 0 {
            self.add(format_args!("AE "));
        }
        const FLAGS: [&str; 8] = ["CWR", "ECE", "URG", "ACK", "PSH", "RST", "SYN", "FIN"];
        for (number, flag) in FLAGS.into_iter().enumerate() {
            if header[13] & (0x80 >> number) != 0 {
                self.add(format_args!("{flag} "));
            }
        }
        self.add(format_args!("URGP={} ", be16(&header, 18)));
        let header_length = 4 * usize::from(header[12] >> 4);
        if self.details.tcp_options && header_length > 20 {
            let Some(options) = self.range(at + 20, header_length - 20)? else {
                self.add(format_args!("OPT (TRUNCATED)"));
                return Err(Stop::Ended);
            };
            let options = options.to_vec();
            self.add(format_args!("OPT ("));
            self.hex(&options);
            self.add(format_args!(") "));
        }
        Ok(())
    }

    fn udp(&mut self, name: &str, at: usize, later_fragment: bool) -> Result<(), Stop> {
        self.add(format_args!("PROTO={name} "));
        if later_fragment {
            return Ok(());
        }
        let Some(header) = self.bytes::<8>(at)? else {
            self.incomplete(at);
            return Err(Stop::Ended);
        };
        let (source, destination) = (be16(&header, 0), be16(&header, 2));
        let length = be16(&header, 4);
        self.add(format_args!("SPT={source} DPT={destination} LEN={length} "));
        Ok(())
    }

    fn icmp4(&mut self, at: usize, later_fragment: bool, depth: Depth) -> Result<(), Stop> {
        self.add(format_args!("PROTO=ICMP "));
        if later_fragment {
            return Ok(());
        }
        let Some(header) = self.bytes::<8>(at)? else {
            self.incomplete(at);
            return Ok(());
        };
        let (kind, code) = (header[0], header[1]);
        self.add(format_args!("TYPE={kind} CODE={code} "));
        let required = match kind {
            0 | 8 => 4,
            3 | 4 | 5 | 11 | 12 => 8 + 20,
            13 | 14 => 20,
            17 | 18 => 12,
            _ => 0,
        };
        if self.rest(at) < required {
            self.incomplete(at);
            return Ok(());
        }
        match kind {
            0 | 8 => {
                let (id, sequence) = (be16(&header, 4), be16(&header, 6));
                self.add(format_args!("ID={id} SEQ={sequence} "));
            }
            12 => self.add(format_args!("PARAMETER={} ", header[4])),
            3 | 4 | 5 | 11 => {
                if kind == 5 {
                    let gateway = Ipv4Addr::from(be32(&header, 4));
                    self.add(format_args!("GATEWAY={gateway} "));
                }
                self.quoted(depth, |writer| writer.ipv4(at + 8, Depth::Quoted))?;
                if (kind, code) == (3, 4) {
                    self.add(format_args!("MTU={} ", be16(&header, 6)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Dumps the packet that an ICMP error quotes, in brackets; in a quoted one nothing.
    fn quoted(
        &mut self,
        depth: Depth,
        dump: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if depth == Depth::Quoted {
            return Ok(());
        }
        self.add(format_args!("["));
        if dump(self) == Err(Stop::Cut) {
            return Err(Stop::Cut);
        }
        self.add(format_args!("] "));
        Ok(())
    }

    fn ipv6(&mut self, at: usize, depth: Depth) -> Result<(), Stop> {
        let Some(header) = self.bytes::<40>(at)? else {
            self.add(format_args!("TRUNCATED"));
            return Err(Stop::Ended);
        };
        let (source, destination) = (groups(&header[8..24]), groups(&header[24..40]));
        self.add(format_args!("SRC={source} DST={destination} "));
        let longest = u32::from(u16::MAX) + 40;
        let length = match be16(&header, 4) {
            0 if self.sight.length > longest => self.sight.length,
            length => u32::from(length) + 40,
        };
        let first = be32(&header, 0);
        let (class, label) = ((first >> 20) & 0xff, first & 0xf_ffff);
        let hops = header[7];
        self.add(format_args!(
            "LEN={length} TC={class} HOPLIMIT={hops} FLOWLBL={label} "
        ));
        let (protocol, transport, later_fragment) = self.extension_headers(header[6], at + 40)?;
        match protocol {
            6 => self.tcp(transport, later_fragment)?,
            17 => self.udp("UDP", transport, later_fragment)?,
            136 => self.udp("UDPLITE", transport, later_fragment)?,
            58 => self.icmp6(transport, later_fragment, depth)?,
            protocol => self.add(format_args!("PROTO={protocol} ")),
        }
        self.socket_and_mark(depth);
        Ok(())
    }

    /// Tells of the extension headers and gives what follows them: the protocol, where it begins, and
    /// whether that is in a later fragment.
    fn extension_headers(&mut self, first: u8, start: usize) -> Result<(u8, usize, bool), Stop> {
        let told = self.details.ip_options;
        let (mut protocol, mut at, mut later_fragment) = (first, start, false);
        while matches!(protocol, 0 | 43 | 44 | 50 | 51 | 60) {
            let Some(header) = self.bytes::<2>(at)? else {
                self.add(format_args!("TRUNCATED"));
                return Err(Stop::Ended);
            };
            if told {
                self.add(format_args!("OPT ( "));
            }
            let size = usize::from(header[1]);
            let length = match protocol {
                44 => {
                    later_fragment |= self.fragment_header(at)?;
                    8
                }
                50 => {
                    if told {
                        self.security_header("ESP", at, 0, later_fragment)?;
                        self.add(format_args!(")"));
                    }
                    return Err(Stop::Ended);
                }
                51 => {
                    if told {
                        self.security_header("AH", at, 4, later_fragment)?;
                    }
                    4 * (size + 2)
                }
                _ if later_fragment => {
                    if told {
                        self.add(format_args!(")"));
                    }
                    return Err(Stop::Ended);
                }
                _ => 8 * (size + 1),
            };
            if told {
                self.add(format_args!(") "));
            }
            protocol = header[0];
            at += length;
        }
        Ok((protocol, at, later_fragment))
    }

    /// Tells of a fragment header and gives whether the fragment is a later one.
    fn fragment_header(&mut self, at: usize) -> Result<bool, Stop> {
        self.add(format_args!("FRAG:"));
        let Some(header) = self.bytes::<8>(at)? else {
            self.add(format_args!("TRUNCATED "));
            return Err(Stop::Ended);
        };
        let offset = be16(&header, 2) & 0xfff8;
        self.add(format_args!("{offset} "));
        if header[3] & 1 != 0 {
            self.add(format_args!("INCOMPLETE "));
        }
        self.add(format_args!("ID:{:08x} ", be32(&header, 4)));
        Ok(offset != 0)
    }

    /// Tells of an authentication or encryption header, whose index is so many bytes behind its start.
    fn security_header(
        &mut self,
        name: &str,
        at: usize,
        index: usize,
        later_fragment: bool,
    ) -> Result<(), Stop> {
        self.add(format_args!("{name} "));
        if later_fragment {
            self.add(format_args!(")"));
            return Err(Stop::Ended);
        }
        if self.range(at, index + 8)?.is_none() {
            self.incomplete(at);
            self.add(format_args!(")"));
            return Err(Stop::Ended);
        }
        if let Some(number) = self.bytes::<4>(at + index)? {
            self.add(format_args!("SPI=0x{:x} ", be32(&number, 0)));
        }
        Ok(())
    }

    fn icmp6(&mut self, at: usize, later_fragment: bool, depth: Depth) -> Result<(), Stop> {
        self.add(format_args!("PROTO=ICMPv6 "));
        if later_fragment {
            return Ok(());
        }
        let Some(header) = self.bytes::<8>(at)? else {
            self.incomplete(at);
            return Err(Stop::Ended);
        };
        let (kind, code) = (header[0], header[1]);
        self.add(format_args!("TYPE={kind} CODE={code} "));
        match kind {
            128 | 129 => {
                let (id, sequence) = (be16(&header, 4), be16(&header, 6));
                self.add(format_args!("ID={id} SEQ={sequence} "));
            }
            1..=4 => {
                let word = be32(&header, 4);
                if kind == 4 {
                    self.add(format_args!("POINTER={word:08x} "));
                }
                self.quoted(depth, |writer| writer.ipv6(at + 8, Depth::Quoted))?;
                if kind == 2 {
                    self.add(format_args!("MTU={word} "));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn socket_and_mark(&mut self, depth: Depth) {
        if depth == Depth::Quoted {
            return;
        }
        if let Some(Owner { user, group }) = self.sight.owner.filter(|_| self.details.owner) {
            self.add(format_args!("UID={user} GID={group} "));
        }
        if self.sight.mark != 0 {
            self.add(format_args!("MARK=0x{:x} ", self.sight.mark));
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

/// `00:11:22`
fn colons(bytes: &[u8]) -> String {
    let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    words.join(":")
}

/// An IPv6 address with all its zeros.
fn groups(bytes: &[u8]) -> String {
    let words = bytes
        .chunks_exact(2)
        .map(|group| format!("{:04x}", be16(group, 0)));
    words.collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 10.0.0.1 to 10.0.0.2: UDP from port 53 to port 5353.
    const UDP: [u8; 28] = [
        0x45, 0, 0, 28, 0, 7, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 0x14, 0xe9,
        0, 8, 0, 0,
    ];

    fn sight(bytes: &[u8]) -> Sight<'_> {
        Sight {
            family: Family::V4,
            bytes,
            length: 28,
            in_device: "",
            out_device: "eth0",
            link: LinkHeader::None,
            mark: 0,
            owner: None,
        }
    }

    fn text(sight: &Sight<'_>, details: Details) -> String {
        String::from_utf8(line(b"p: ", sight, details)).unwrap()
    }

    #[test]
    fn owner_and_mark_come_last() {
        let sight = Sight {
            mark: 0xab,
            owner: Some(Owner { user: 0, group: 7 }),
            ..sight(&UDP)
        };
        let details = Details {
            owner: true,
            ..Details::default()
        };
        assert_eq!(
            text(&sight, details),
            "p: IN= OUT=eth0 SRC=10.0.0.1 DST=10.0.0.2 LEN=28 TOS=0x00 PREC=0x00 TTL=64 ID=7 DF PROTO=UDP \
             SPT=53 DPT=5353 LEN=8 UID=0 GID=7 MARK=0xab "
        );
        assert!(!text(&sight, Details::default()).contains("UID"));
    }

    #[test]
    fn what_the_record_lacks_is_not_what_the_packet_lacks() {
        let cut = text(&sight(&UDP[..24]), Details::default());
        assert!(cut.ends_with("PROTO=UDP ..."), "{cut}");
        let short = Sight {
            length: 24,
            ..sight(&UDP[..24])
        };
        let short = text(&short, Details::default());
        assert!(
            short.ends_with("PROTO=UDP INCOMPLETE [4 bytes] "),
            "{short}"
        );
        for length in 0..20 {
            let cut = text(&sight(&UDP[..length]), Details::default());
            assert_eq!(cut, "p: IN= OUT=eth0 ...");
        }
    }

    #[test]
    fn lines_end_where_the_kernels_buffer_does() {
        // Hop-by-hop headers without end, each of which is told.
        let mut packet = vec![0x60, 0, 0, 0, 0x10, 0, 0, 64];
        packet.resize(40 + 0x1000, 0);
        let sight = Sight {
            family: Family::V6,
            bytes: &packet,
            length: packet.len() as u32,
            ..sight(&[])
        };
        let details = Details {
            ip_options: true,
            ..Details::default()
        };
        let line = text(&sight, details);
        assert_eq!(line.len(), LONGEST);
        assert!(line.ends_with("OPT ( ) OPT ( ) OPT "), "{line}");
    }
}
