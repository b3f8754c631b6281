//! Extension matches that go with a protocol: one file each, but for those of one value.

mod addrtype;
mod connlimit;
mod conntrack;
mod hashlimit;
mod icmp;
mod iprange;
mod length;
mod limit;
mod multiport;
mod pkttype;
mod recent;
mod set;
mod statistic;
mod string;
mod tcp;
mod tcpmss;
mod time;
mod tos;
mod u32;
mod udp;

use bstr::BString;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::matches::addrtype::addrtype;
use crate::arbitrary::matches::connlimit::connlimit;
use crate::arbitrary::matches::conntrack::{conntrack, states};
use crate::arbitrary::matches::hashlimit::hashlimit;
use crate::arbitrary::matches::icmp::type_code;
use crate::arbitrary::matches::iprange::ip_range;
use crate::arbitrary::matches::length::length;
use crate::arbitrary::matches::limit::limit;
use crate::arbitrary::matches::multiport::port_list;
use crate::arbitrary::matches::pkttype::packet_type;
use crate::arbitrary::matches::recent::recent;
use crate::arbitrary::matches::set::set;
use crate::arbitrary::matches::statistic::statistic;
use crate::arbitrary::matches::string::string;
use crate::arbitrary::matches::tcp::tcp;
use crate::arbitrary::matches::tcpmss::tcpmss;
use crate::arbitrary::matches::time::time;
use crate::arbitrary::matches::tos::tos;
use crate::arbitrary::matches::u32::u32_tests;
use crate::arbitrary::matches::udp::udp;
use crate::arbitrary::values::{masked, negatable, text_byte};
use crate::matches::Match;
use crate::matches::comment::Comment;
use crate::matches::connmark::Connmark;
use crate::matches::conntrack::State;
use crate::matches::dscp::Dscp;
use crate::matches::icmp::{Icmp, Icmp6, TypeCode};
use crate::matches::length::Length;
use crate::matches::mark::Mark;
use crate::matches::multiport::{Multiport, Side};
use crate::matches::pkttype::Pkttype;
use crate::ruleset::Family;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

pub(super) fn extension(family: Family, protocol: Option<u8>) -> BoxedStrategy<Match> {
    let any_protocol = prop_oneof![
        vec(text_byte(), 0..40).prop_map(|text| Match::Comment(Comment {
            text: BString::from(text)
        })),
        conntrack(family).prop_map(Match::Conntrack),
        negatable(states(5)).prop_map(|states| Match::State(State { states })),
        limit().prop_map(Match::Limit),
        ip_range(family).prop_map(Match::IpRange),
        negatable(length()).prop_map(|it| Match::Length(Length(it))),
        negatable(masked()).prop_map(|it| Match::Mark(Mark(it))),
        negatable(packet_type()).prop_map(|it| Match::Pkttype(Pkttype(it))),
        recent(family).prop_map(Match::Recent),
        addrtype(family).prop_map(Match::Addrtype),
        negatable(masked()).prop_map(|mark| Match::Connmark(Connmark { mark })),
        connlimit(family).prop_map(Match::Connlimit),
        negatable(0..=63_u8).prop_map(|codepoint| Match::Dscp(Dscp { codepoint })),
        hashlimit(family).prop_map(Match::Hashlimit),
        set().prop_map(Match::Set),
        statistic().prop_map(Match::Statistic),
        string().prop_map(Match::String),
        time().prop_map(Match::Time),
        tos().prop_map(Match::Tos),
        u32_tests().prop_map(Match::U32),
    ];
    let multiport = (
        select(vec![Side::Source, Side::Destination, Side::Either]),
        negatable(port_list()),
    )
        .prop_map(|(side, ports)| Match::Multiport(Multiport { side, ports }));
    match (protocol, family) {
        (Some(TCP), _) => prop_oneof![4 => any_protocol, 2 => multiport, 2 => tcp().prop_map(Match::Tcp), 1 => tcpmss().prop_map(Match::Tcpmss)].boxed(),
        (Some(UDP), _) => prop_oneof![any_protocol, multiport, udp().prop_map(Match::Udp)].boxed(),
        (Some(ICMP), Family::V4) => {
            let any_type = Just(TypeCode {
                kind: 255,
                code_low: 0,
                code_high: 255,
            });
            let icmp = negatable(prop_oneof![4 => type_code(254), 1 => any_type]);
            prop_oneof![any_protocol, icmp.prop_map(|it| Match::Icmp(Icmp(it)))].boxed()
        }
        (Some(ICMP6), Family::V6) => prop_oneof![
            any_protocol,
            negatable(type_code(255)).prop_map(|it| Match::Icmp6(Icmp6(it)))
        ]
        .boxed(),
        _ => any_protocol.boxed(),
    }
}
