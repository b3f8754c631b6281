//! IPv6 extension headers that rules ask for.

use fastrand::Rng;
use ipt2bpf_parser::header_options::HeaderTest;
use ipt2bpf_parser::matches::Match;

/// A header without its first byte, which names the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionHeader {
    /// Its number.
    pub kind: u8,
    /// What follows the first byte.
    pub bytes: Vec<u8>,
}

impl ExtensionHeader {
    /// The headers that a match is about: for ranges, both ends.
    pub fn aimed_at(found: &Match) -> Vec<Self> {
        match found {
            Match::Ah6(ah) => {
                let spi = ah.spi.value.value;
                let header = |spi: u32| Self {
                    kind: 51,
                    bytes: [&[2, 0, 0], &spi.to_be_bytes()[..], &[0; 8]].concat(),
                };
                vec![header(spi.low), header(spi.high)]
            }
            Match::Frag(frag) => {
                let id = frag.id.value.value;
                let header = |id: u32, more: u8| Self {
                    kind: 44,
                    bytes: [&[0, 0, more], &id.to_be_bytes()[..]].concat(),
                };
                vec![header(id.low, 1), header(id.high, 0)]
            }
            Match::Hbh(hbh) => vec![options(0, &hbh.0)],
            Match::Dst(dst) => vec![options(60, &dst.0)],
            Match::Rt(rt) => {
                let listed = rt.addresses.iter().flat_map(|it| &it.list);
                let addresses: Vec<u8> = listed.flat_map(|it| it.octets()).collect();
                let kind = rt.kind.as_ref().map_or(0, |kind| kind.value.value as u8);
                let left = rt.segments_left.value.value.low as u8;
                let words = (addresses.len() / 8) as u8;
                vec![Self {
                    kind: 43,
                    bytes: [&[words, kind, left, 0, 0, 0, 0], &addresses[..]].concat(),
                }]
            }
            Match::Srh(srh) => {
                let asked = [&srh.last_segment, &srh.next_segment, &srh.previous_segment];
                let segments = asked.map(|it| {
                    it.as_ref()
                        .map_or([0; 16], |it| it.value.value.address.octets())
                });
                let [low, high] = srh
                    .tag
                    .as_ref()
                    .map_or([0; 2], |tag| tag.value.value.to_be_bytes());
                // The second of three is to come: the last, the next and the previous.
                let segments = [segments[0], segments[2]].map(|it| it.to_vec());
                let header = |tag: [u8; 2], left: u8| Self {
                    kind: 43,
                    bytes: [&[4, 4, left, 1, 0, tag[0], tag[1]], &segments.concat()[..]].concat(),
                };
                vec![
                    header([low, high], 0),
                    header([high, low], 0),
                    header([low, high], 1),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// The header in front of another; one in three has a wrong byte.
    pub fn draw(&self, random: &mut Rng, next: u8) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        match (random.u32(..9), random.choice(0..bytes.len())) {
            (0, Some(at)) => bytes[at] = bytes[at].wrapping_add(1),
            (1, Some(at)) => bytes[at] = bytes[at].wrapping_sub(1),
            (2, Some(at)) => bytes[at] = random.u8(..),
            _ => {}
        }
        [&[next], &bytes[..]].concat()
    }
}

/// A header with just the options that a test lists.
fn options(kind: u8, test: &HeaderTest) -> ExtensionHeader {
    let mut bytes = vec![0];
    for option in test.options.iter().flatten() {
        bytes.push(option.kind);
        if option.kind != 0 {
            let length = option.length.unwrap_or(2);
            bytes.push(length);
            bytes.resize(bytes.len() + usize::from(length), 0);
        }
    }
    while !(bytes.len() + 1).is_multiple_of(8) {
        bytes.push(0);
    }
    bytes[0] = ((bytes.len() + 1) / 8 - 1) as u8;
    ExtensionHeader { kind, bytes }
}
