//! Packets as files of tcpdump and others read them: the format of pcap-savefile(5) with times in
//! nanoseconds, each packet from its IP header on.

use std::time::Duration;

/// `LINKTYPE_RAW`: IPv4 or IPv6, as the first byte says.
const RAW_IP: u32 = 101;
/// The magic number of files whose times have nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
/// More than any packet has.
const LONGEST: u32 = 1 << 18;

/// What a file begins with, in the byte order of the machine, as the format wants it.
pub fn file_header() -> Vec<u8> {
    let version = [2u16, 4].map(u16::to_ne_bytes).concat();
    let (zone, accuracy) = (0, 0);
    let rest = [zone, accuracy, LONGEST, RAW_IP].map(u32::to_ne_bytes);
    [&MAGIC.to_ne_bytes()[..], &version, &rest.concat()].concat()
}

/// One packet: the time since 1970, its first bytes, its length.
pub fn packet(time: Duration, bytes: &[u8], length: u32) -> Vec<u8> {
    let head = [
        time.as_secs() as u32,
        time.subsec_nanos(),
        bytes.len() as u32,
        length,
    ];
    [&head.map(u32::to_ne_bytes).concat()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_headers_where_readers_look() {
        let mut file = file_header();
        assert_eq!(file.len(), 24);
        file.extend(packet(Duration::new(7, 9), &[0x45, 0], 20));
        assert_eq!(file.len(), 24 + 16 + 2);
        let word = |at: usize| u32::from_ne_bytes(*file[at..].first_chunk().unwrap());
        assert_eq!((word(0), word(20)), (0xa1b2_3c4d, 101));
        assert_eq!([24, 28, 32, 36].map(word), [7, 9, 2, 20]);
    }
}
