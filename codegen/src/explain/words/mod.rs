//! A packet in words, such as `tcp 10.0.0.5:40000 > 192.0.2.1:22 syn in eth0`, or in hexadecimal.
//!
//! ```text
//! packet   = hex:DIGITS (in IFACE | out IFACE | mark NUMBER | mac ADDRESS)*
//!          | PROTOCOL ENDPOINT > ENDPOINT word*
//! PROTOCOL = tcp | udp | icmp | icmpv6 | proto NUMBER
//! ENDPOINT = ADDRESS | ADDRESS:PORT | [ADDRESS] | [ADDRESS]:PORT     brackets for IPv6
//! word     = fin | syn | rst | psh | ack | urg | ece | cwr | none    TCP flags; syn without any
//!          | type NUMBER | code NUMBER                               ICMP; 8 or 128 and 0 without
//!          | in IFACE | out IFACE
//!          | frag BYTES     a fragment at this offset; 0 is the first, with more to come
//!          | len BYTES      the length from the IP header on
//!          | ttl NUMBER | tos NUMBER | mark NUMBER                   hexadecimal with 0x; 64, 0 and 0 without
//!          | mac ADDRESS    the Ethernet address that sent it
//! ```

mod build;
mod grammar;
mod hexadecimal;

use std::str::FromStr;

use ipt2bpf_parser::ruleset::Family;

use crate::packet::{Devices, Metadata};
use grammar::{Problem, description, whole};

/// A packet to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketWords {
    /// What the user wrote.
    pub text: String,
    /// The family of its header.
    pub family: Family,
    /// Its bytes from the IP header on. Checksums are not filled in: no rule looks at them.
    pub bytes: Vec<u8>,
    /// The interfaces named.
    pub devices: Devices,
    /// The mark and the sender's Ethernet address.
    pub metadata: Metadata,
}

impl PacketWords {
    /// The Ethernet header of a packet whose sender is told: to nobody in particular.
    pub fn link_header(&self) -> Option<[u8; 14]> {
        let sender = self.metadata.source_mac?;
        let ethertype = match self.family {
            Family::V4 => [0x08, 0x00],
            Family::V6 => [0x86, 0xdd],
        };
        let mut header = [0; 14];
        header[6..12].copy_from_slice(&sender);
        header[12..].copy_from_slice(&ethertype);
        Some(header)
    }
}

impl FromStr for PacketWords {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = |Problem { at, message }| {
            let column = text[..text.len() - at.len()].chars().count();
            format!("{message}\n  {text}\n  {}^", " ".repeat(column))
        };
        let (family, bytes, devices, metadata) = match text.strip_prefix("hex:") {
            Some(digits) => hexadecimal::read(digits).map_err(problem)?,
            None => described(text).map_err(problem)?,
        };
        Ok(PacketWords {
            text: text.to_owned(),
            family,
            bytes,
            devices,
            metadata,
        })
    }
}

/// What was read: family, bytes, interfaces and what else is known of the packet.
type Read = (Family, Vec<u8>, Devices, Metadata);

fn described(text: &str) -> Result<Read, Problem<'_>> {
    whole(description(text))?.packet()
}

#[cfg(test)]
mod tests {
    use crate::field::Field;
    use crate::packet::Packet;

    use super::*;

    fn read(text: &str) -> PacketWords {
        text.parse()
            .unwrap_or_else(|error: String| panic!("{error}"))
    }

    /// The fields that rules see in a packet.
    fn fields<const N: usize>(text: &str, fields: [Field; N]) -> [u128; N] {
        let words = read(text);
        let packet = Packet::new(words.family, &words.bytes, &words.devices).unwrap();
        fields.map(|field| packet.get(field))
    }

    #[test]
    fn tcp_is_read() {
        let words = read("tcp 10.0.0.5:40000 > 192.0.2.1:22 syn ack in eth0");
        assert_eq!(
            words.bytes,
            [
                0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5, 192, 0, 2, 1, //
                0x9c, 0x40, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0
            ]
        );
        assert_eq!(words.devices.input, "eth0");
        assert_eq!(words.devices.output, "");
    }

    #[test]
    fn flags_are_syn_unless_said() {
        let flags = |words: &str| {
            fields(
                &format!("tcp 1.1.1.1:1 > 2.2.2.2:2 {words}"),
                [Field::TcpFlags],
            )[0]
        };
        assert_eq!(flags(""), 0x02);
        assert_eq!(flags("none"), 0);
        assert_eq!(flags("fin psh urg"), 0x29);
    }

    #[test]
    fn ipv6_is_read_with_brackets_and_without() {
        let wanted = [Field::Protocol, Field::SourcePort, Field::DestinationPort];
        assert_eq!(
            fields("udp [2001:db8::1]:53 > [2001:db8::2]:5353", wanted),
            [17, 53, 5353]
        );
        assert_eq!(
            fields(
                "icmpv6 fe80::1 > [ff02::1] type 133",
                [Field::Protocol, Field::IcmpType]
            ),
            [58, 133]
        );
    }

    #[test]
    fn fragments_are_made() {
        let wanted = [Field::Protocol, Field::FragmentOffset];
        assert_eq!(fields("udp 1.1.1.1 > 2.2.2.2 frag 1480", wanted), [17, 185]);
        assert_eq!(fields("udp ::1 > ::2 frag 1480", wanted), [17, 1480]);
        assert_eq!(fields("udp 1.1.1.1:1 > 2.2.2.2:2 frag 0", wanted), [17, 0]);
        assert_eq!(read("udp 1.1.1.1:1 > 2.2.2.2:2 frag 0").bytes[6], 0x20);
    }

    #[test]
    fn lengths_cut_and_pad() {
        let length = |words: &str| {
            let bytes = read(&format!("tcp 1.1.1.1:1 > 2.2.2.2:2 len {words}")).bytes;
            (bytes.len(), u16::from_be_bytes([bytes[2], bytes[3]]))
        };
        assert_eq!(length("23"), (23, 23));
        assert_eq!(length("1500"), (1500, 1500));
        assert_eq!(length("65535"), (65535, 65535));
        let bytes = read("tcp [::1]:1 > [::2]:2 len 65535").bytes;
        assert_eq!((bytes[4], bytes[5]), (0xff, 0xd7));
    }

    #[test]
    fn marks_services_and_senders_are_read() {
        let text = |addresses: &str| {
            let words = "ttl 3 tos 0xb8 mark 0x1f mac 02:00:00:00:00:aB";
            format!("proto 50 {addresses} {words}")
        };
        for addresses in ["1.1.1.1 > 2.2.2.2", "::1 > ::2"] {
            let words = read(&text(addresses));
            let packet = Packet::new(words.family, &words.bytes, &words.devices).unwrap();
            let packet = packet.with(words.metadata);
            let wanted = [
                Field::TimeToLive,
                Field::TypeOfService,
                Field::Mark,
                Field::SourceMac,
            ];
            let seen = wanted.map(|field| packet.get(field));
            assert_eq!(seen, [3, 0xb8, 0x1f, 0x0200_0000_00ab]);
        }
    }

    #[test]
    fn hexadecimal_is_what_the_kernel_would_take() {
        let digits =
            "45000028000100004006aec90a000005c00002019c4000160000000000000000500220000000000000";
        let words = read(&format!("hex:{digits}0000 in eth1 out eth2"));
        assert_eq!((words.family, words.bytes.len()), (Family::V4, 40));
        assert_eq!(words.devices.input, "eth1");
        assert_eq!(words.devices.output, "eth2");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "(hex:|tcp |udp |icmp |proto )?[0-9a-f.:>\\[\\] ]{0,20}( (in|out|frag|len|type|syn|ü) ?[0-9a-zü]{0,6}){0,3} *",
        ) {
            match text.parse::<PacketWords>() {
                Ok(words) => assert!(words.bytes.len() >= 20),
                Err(message) => assert!(message.ends_with('^'), "{message}"),
            }
        }
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let wrong = [
            "",
            "sctp 1.1.1.1 > 2.2.2.2",
            "tcp 10.0.0.300:1 > 2.2.2.2:2",
            "tcp 1.1.1.1:65536 > 2.2.2.2:2",
            "tcp 1.1.1.1:1 2.2.2.2:2",
            "tcp 1.1.1.1 > 2.2.2.2:2",
            "tcp 1.1.1.1:1 > [::2]:2",
            "udp 1.1.1.1:1 > 2.2.2.2:2 syn",
            "udp 1.1.1.1:1 > 2.2.2.2:2 frag 8",
            "icmp 1.1.1.1:1 > 2.2.2.2",
            "icmp ::1 > ::2",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 frag 7",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 len 19",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 in eth0 in eth1",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 in averyveryverylong",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 flow 3",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 ttl 256",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 mark 0x100000000",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 mac 02:00:00:00:01",
            "proto 256 1.1.1.1 > 2.2.2.2",
            "tcp 1.1.1.1:1 > 2.2.2.2:2 in",
            "hex:45",
            "hex:4g",
            "hex:",
            "hex:45000014000000004000000000000000000000000 syn",
            "hex:45 ü  ",
        ];
        let shown: Vec<String> = wrong
            .iter()
            .map(|text| PacketWords::from_str(text).expect_err(text))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
