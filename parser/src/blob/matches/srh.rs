//! `struct ip6t_srh1` (netfilter_ipv6/ip6t_srh.h).

use std::net::Ipv6Addr;

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::blob::layout::{InetAddress, read_prefix, write_prefix};
use crate::matches::srh::{Asked, FieldTests, Segment, Srh};
use crate::ruleset::{Family, Negatable};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Srh1 {
    next_header: u8,
    header_length: u8,
    segments_left: u8,
    last_entry: u8,
    /// As the tool writes it: in host order, though the kernel compares it with the one of the packet,
    /// which is in network order.
    tag: U16,
    padding: [u8; 2],
    previous_address: InetAddress,
    next_address: InetAddress,
    last_address: InetAddress,
    previous_mask: InetAddress,
    next_mask: InetAddress,
    last_mask: InetAddress,
    tests: U16,
    inverted: U16,
}

/// `IP6T_SRH_NEXTHDR`
const NEXT_HEADER: u16 = 0x0001;
/// `IP6T_SRH_LEN_EQ` and the two for greater and less.
const HEADER_LENGTH: [u16; 3] = [0x0002, 0x0004, 0x0008];
/// `IP6T_SRH_SEGS_EQ` and the two for greater and less.
const SEGMENTS_LEFT: [u16; 3] = [0x0010, 0x0020, 0x0040];
/// `IP6T_SRH_LAST_EQ` and the two for greater and less.
const LAST_ENTRY: [u16; 3] = [0x0080, 0x0100, 0x0200];
/// `IP6T_SRH_TAG`
const TAG: u16 = 0x0400;
/// `IP6T_SRH_PSID`
const PREVIOUS: u16 = 0x0800;
/// `IP6T_SRH_NSID`
const NEXT: u16 = 0x1000;
/// `IP6T_SRH_LSID`
const LAST: u16 = 0x2000;
/// `IP6T_SRH_MASK`, `IP6T_SRH_INV_MASK`
const ALL: u16 = 0x3fff;

impl Wire for Srh1 {
    type Value = Srh;
    const NAME: &'static str = "srh";
    const REVISION: u8 = 1;
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Srh>, Refused> {
        if (self.tests | self.inverted).get() & !ALL != 0 {
            return Err(Refused("an unknown flag"));
        }
        let has = |bit| self.tests.get() & bit != 0;
        let is_inverted = |bit| self.inverted.get() & bit != 0;
        let segment = |bit, address: &InetAddress, mask: &InetAddress| {
            let segment = Segment {
                address: Ipv6Addr::from(*address),
                prefix: read_prefix(Family::V6, mask)?,
            };
            has(bit).then(|| test(is_inverted(bit), segment))
        };
        Ok(Some(Srh {
            next_header: has(NEXT_HEADER).then(|| test(is_inverted(NEXT_HEADER), self.next_header)),
            header_length: self.field(HEADER_LENGTH, self.header_length),
            segments_left: self.field(SEGMENTS_LEFT, self.segments_left),
            last_entry: self.field(LAST_ENTRY, self.last_entry),
            tag: has(TAG).then(|| test(is_inverted(TAG), self.tag.get())),
            previous_segment: segment(PREVIOUS, &self.previous_address, &self.previous_mask),
            next_segment: segment(NEXT, &self.next_address, &self.next_mask),
            last_segment: segment(LAST, &self.last_address, &self.last_mask),
        }))
    }

    fn write(value: &Srh, _: &Context<'_>) -> Option<Self> {
        let address = |it: &Option<Negatable<Segment>>| match it {
            Some(it) => it.value.value.address.octets(),
            None => InetAddress::default(),
        };
        let mask = |it: &Option<Negatable<Segment>>| match it {
            Some(it) => write_prefix(it.value.value.prefix),
            None => InetAddress::default(),
        };
        let (header_length, length_tests, length_inverted) =
            write_field(HEADER_LENGTH, value.header_length);
        let (segments_left, left_tests, left_inverted) =
            write_field(SEGMENTS_LEFT, value.segments_left);
        let (last_entry, entry_tests, entry_inverted) = write_field(LAST_ENTRY, value.last_entry);
        let tests = length_tests
            | left_tests
            | entry_tests
            | flag(value.next_header.is_some(), NEXT_HEADER)
            | flag(value.tag.is_some(), TAG)
            | flag(value.previous_segment.is_some(), PREVIOUS)
            | flag(value.next_segment.is_some(), NEXT)
            | flag(value.last_segment.is_some(), LAST);
        let inverted = length_inverted
            | left_inverted
            | entry_inverted
            | inversion(&value.next_header, NEXT_HEADER)
            | inversion(&value.tag, TAG)
            | inversion(&value.previous_segment, PREVIOUS)
            | inversion(&value.next_segment, NEXT)
            | inversion(&value.last_segment, LAST);
        Some(Self {
            next_header: value.next_header.as_ref().map_or(0, |it| it.value.value),
            header_length,
            segments_left,
            last_entry,
            tag: value.tag.as_ref().map_or(0, |it| it.value.value).into(),
            padding: [0; 2],
            previous_address: address(&value.previous_segment),
            next_address: address(&value.next_segment),
            last_address: address(&value.last_segment),
            previous_mask: mask(&value.previous_segment),
            next_mask: mask(&value.next_segment),
            last_mask: mask(&value.last_segment),
            tests: tests.into(),
            inverted: inverted.into(),
        })
    }
}

impl Srh1 {
    /// The tests of a field by their bits, with its value if there is one.
    fn field(&self, bits: [u16; 3], value: u8) -> FieldTests {
        let [equal, greater, less] =
            bits.map(
                |bit| match (self.tests.get() & bit != 0, self.inverted.get() & bit != 0) {
                    (false, _) => Asked::No,
                    (true, false) => Asked::True,
                    (true, true) => Asked::False,
                },
            );
        let is_tested = [equal, greater, less] != [Asked::No; 3];
        FieldTests {
            value: flag(is_tested, value),
            equal,
            greater,
            less,
        }
    }
}

/// The value, the bits of the tests, and those of the inverted ones.
fn write_field(bits: [u16; 3], field: FieldTests) -> (u8, u16, u16) {
    let asked = bits
        .into_iter()
        .zip([field.equal, field.greater, field.less]);
    let (tests, inverted) = asked.fold((0, 0), |(tests, inverted), (bit, asked)| match asked {
        Asked::No => (tests, inverted),
        Asked::True => (tests | bit, inverted),
        Asked::False => (tests | bit, inverted | bit),
    });
    (field.value, tests, inverted)
}
