//! A packet in hexadecimal.

use ipt2bpf_parser::ruleset::Family;
use nom::Parser;
use nom::character::complete::space0;
use nom::multi::many0;
use nom::sequence::terminated;

use super::Read;
use super::build::Details;
use super::grammar::{Problem, Word, described_word, hex_digit, whole, word};
use crate::frame::ip_packet;

/// The digits behind `hex:` and the interfaces behind them.
pub(super) fn read(text: &str) -> Result<Read, Problem<'_>> {
    let (rest, digits) = word(text).unwrap_or((text, ""));
    let words = whole(terminated(many0(described_word), space0).parse(rest))?;
    if let Some((at, _)) = words.iter().find(|(_, word)| {
        !matches!(
            word,
            Word::In(_) | Word::Out(_) | Word::Mark(_) | Word::Mac(_)
        )
    }) {
        let message = "behind hex: only in, out, mark and mac may stand";
        return Err(Problem::new(at, message));
    }
    let details = Details::of(&words)?;
    let pairs = digits.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| match pair {
            [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
            _ => None,
        })
        .collect();
    let bytes = bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
        Problem::new(
            text,
            "expected pairs of hexadecimal digits, from the IP header on",
        )
    })?;
    let (family, bytes) = as_received(&bytes).ok_or_else(|| {
        let message = "netfilter sees no such packet: its IP header is cut off or wrong (version, \
                       lengths, IPv4 checksum), or bytes are missing";
        Problem::new(text, message)
    })?;
    Ok((family, bytes, details.devices(), details.metadata()))
}

/// The packet that a frame with these bytes brings to netfilter.
fn as_received(bytes: &[u8]) -> Option<(Family, Vec<u8>)> {
    let ethertype: [u8; 2] = match bytes.first()? >> 4 {
        6 => [0x86, 0xdd],
        _ => [0x08, 0x00],
    };
    let frame = [&[0; 12], &ethertype[..], bytes].concat();
    // On the loopback interface, number 1, no address is out of place.
    let (family, packet) = ip_packet(&frame, 1)?;
    Some((family, packet.to_vec()))
}
