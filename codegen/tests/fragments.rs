//! IPv4 fragments at XDP, on their way to this host: the first decides, the others follow it.

mod support;

use ipt2bpf_codegen::compile::translate;
use ipt2bpf_codegen::evaluate::{Route, evaluate};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::packet::{Devices, Packet};
use ipt2bpf_codegen::routine::World;
use ipt2bpf_codegen::semantic::Verdict;
use ipt2bpf_parser::ruleset::Family;
use support::texts::filter;

const RULES: &str =
    ":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT";

/// A piece of a TCP packet to port 80: so many bytes, at an offset in units of 8.
fn verdict(offset: u8, bytes: usize, route: Route<'_>) -> Verdict {
    let mut packet = vec![
        0x45,
        0,
        0,
        20 + bytes as u8,
        0,
        1,
        0x20,
        offset,
        64,
        6,
        0,
        0,
    ];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend([0x9c, 0x40, 0, 80].into_iter().chain([0; 60]).take(bytes));
    let options = Options {
        hooks: vec![Hook::Xdp],
        ..Options::default()
    };
    let (filters, _, _) = translate(&filter(Family::V4, RULES), &options);
    let packet = Packet::new(Family::V4, &packet, &Devices::default()).expect("a header");
    evaluate(
        &filters[0].families[0],
        &packet,
        route,
        &mut World::default(),
    )
    .verdict
}

#[test]
fn the_first_decides_and_later_ones_pass_input() {
    assert_eq!(verdict(0, 24, Route::Local), Verdict::Accept);
    assert_eq!(verdict(3, 24, Route::Local), Verdict::Accept);
    assert_eq!(verdict(3, 24, Route::Transit("eth1")), Verdict::Drop);
}

#[test]
fn a_first_fragment_too_short_for_the_header_is_dropped() {
    assert_eq!(verdict(0, 8, Route::Local), Verdict::Drop);
}
