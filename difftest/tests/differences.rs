//! What our connection tracking does otherwise than the kernel's by design, each difference shown: the list is
//! in `ipt2bpf_codegen::track`. That of a full table is shown by the floods, that of first fragments where the
//! reference is tested.

use std::net::Ipv6Addr;

use anyhow::Result;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_codegen::track::sctp::MAX_CHUNKS;
use ipt2bpf_difftest::checksum::{checksum, crc32c};
use ipt2bpf_difftest::compare::Subject;
use ipt2bpf_difftest::frame::Frame;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{self, Route};
use ipt2bpf_difftest::netns;
use ipt2bpf_difftest::subjects::{self, program::Program};
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::kernel;

const STATES: [&str; 4] = ["INVALID", "NEW", "ESTABLISHED", "RELATED"];

/// The states that netfilter and the program at XDP give to packets that arrive one after the other.
fn states(family: Family, packets: &[Vec<u8>]) -> Result<Vec<[&'static str; 2]>> {
    states_with(family, packets, None)
}

/// The same with a file of `net.netfilter` that says otherwise.
fn states_with(
    family: Family,
    packets: &[Vec<u8>],
    told: Option<(&str, &str)>,
) -> Result<Vec<[&'static str; 2]>> {
    netns::isolated(|| {
        let host = Host::new(&["eth0".into()], &Routing::transit())?;
        let rules: String = STATES
            .iter()
            .map(|state| format!("-A PREROUTING -m conntrack --ctstate {state}\n"))
            .collect();
        let text = format!("*mangle\n:PREROUTING ACCEPT [0:0]\n{rules}COMMIT\n");
        let ruleset = subjects::ruleset(family, &text)?;
        let mut program = Program::new(&ruleset, Hook::Xdp, &Sets::default())?;
        netfilter::load(family, &text)?;
        if let Some((name, value)) = told {
            std::fs::write(format!("/proc/sys/net/netfilter/{name}"), value)?;
        }
        let mut seen = [[0; STATES.len()]; 2];
        let mut states = Vec::new();
        for packet in packets {
            let frame = Frame::received(family, "eth0", packet);
            host.inject(&frame)?;
            program.verdict(&frame, &Route::Via("eth0".into()))?;
            let theirs = netfilter::counters(family)?;
            let ours = program.counters()?;
            let mut both = [""; 2];
            for rule in theirs.iter().filter(|it| it.key.rule.is_some()) {
                let index = rule.key.rule.unwrap_or(1) - 1;
                let own = ours.get(&rule.key).copied().unwrap_or_default();
                let counted = [rule.counters.packets, own.packets];
                for (side, packets) in counted.into_iter().enumerate() {
                    if packets > seen[side][index] {
                        both[side] = STATES[index];
                    }
                    seen[side][index] = packets;
                }
            }
            states.push(both);
        }
        Ok(states)
    })
}

fn skipped() -> bool {
    match netns::prerequisites() {
        Ok(()) => false,
        Err(reason) => {
            eprintln!("skipped: {reason:#}");
            true
        }
    }
}

const ENDS: [u8; 8] = [10, 0, 0, 1, 10, 0, 0, 2];

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    packet.extend(ENDS);
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}

/// Puts the checksum of a payload over its pseudo header in place.
fn summed(mut payload: Vec<u8>, place: usize, protocol: u8) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let covered = [&ENDS[..], &[0, protocol], &length, &payload].concat();
    let sum = checksum(&covered).to_be_bytes();
    payload[place..place + 2].copy_from_slice(&sum);
    payload
}

#[test]
fn the_kernel_verifies_checksums() {
    if skipped() {
        return;
    }
    let syn = |port: u16| {
        let ports = [port.to_be_bytes(), 80u16.to_be_bytes()].concat();
        [
            &ports[..],
            &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0],
        ]
        .concat()
    };
    let right = summed(syn(1), 16, 6);
    let mut wrong = summed(syn(2), 16, 6);
    wrong[17] ^= 1;
    let found = states(Family::V4, &[v4(6, &right), v4(6, &wrong)]).expect("runs");
    assert_eq!(found, [["NEW", "NEW"], ["INVALID", "NEW"]]);
}

#[test]
fn the_kernel_takes_udp_lite_with_the_checksum_of_udp() {
    if skipped() {
        return;
    }
    const LITE: u8 = 136;
    let datagram = |port: u8| vec![0, port, 0, 80, 0, 9, 0, 0, 7];
    let proper = summed(datagram(1), 6, LITE);
    let as_udp = summed(datagram(2), 6, 17);
    let found = states(Family::V4, &[v4(LITE, &proper), v4(LITE, &as_udp)]).expect("runs");
    assert_eq!(found, [["INVALID", "INVALID"], ["NEW", "INVALID"]]);
}

#[test]
fn the_kernel_reads_all_chunks_of_sctp() {
    if skipped() {
        return;
    }
    const SCTP: u8 = 132;
    let beats = |port: u8, count: usize| {
        let mut packet = vec![0, port, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0];
        packet.extend([4, 0, 0, 4].repeat(count));
        let sum = crc32c(&packet);
        packet[8..12].copy_from_slice(&sum);
        v4(SCTP, &packet)
    };
    let most = beats(1, MAX_CHUNKS);
    let more = beats(2, MAX_CHUNKS + 1);
    let found = states(Family::V4, &[most, more]).expect("runs");
    assert_eq!(found, [["NEW", "NEW"], ["NEW", "INVALID"]]);
}

#[test]
fn dccp_is_any_protocol_for_both() {
    if skipped() {
        return;
    }
    const DCCP: u8 = 33;
    // A RESET, with which no connection began when the kernel knew them.
    let reset = [
        0, 1, 0, 80, 7, 0, 0, 0, 0x0e, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let found = states(Family::V4, &[v4(DCCP, &reset)]).expect("runs");
    let theirs = match kernel::version() >= Some((6, 16)) {
        true => "NEW",
        false => "INVALID",
    };
    assert_eq!(found, [[theirs, "NEW"]]);
}

/// A packet of IPv6 with the checksum of its payload at a place.
fn v6(ends: [&str; 2], protocol: u8, hops: u8, mut payload: Vec<u8>, place: usize) -> Vec<u8> {
    let ends = ends.map(|end| end.parse::<Ipv6Addr>().expect("an address").octets());
    let length = (payload.len() as u16).to_be_bytes();
    let pseudo = [&ends.concat()[..], &[0, 0], &length, &[0, 0, 0, protocol]].concat();
    let sum = checksum(&[&pseudo[..], &payload].concat()).to_be_bytes();
    payload[place..place + 2].copy_from_slice(&sum);
    let header = [&[0x60, 0, 0, 0], &length[..], &[protocol, hops]].concat();
    [header, ends.concat(), payload].concat()
}

#[test]
fn the_kernel_relates_redirects() {
    if skipped() {
        return;
    }
    const REDIRECT: u8 = 137;
    let (here, there) = ("2001:db8::1", "2001:db8:1::1");
    let datagram = v6([here, there], 17, 64, vec![0, 7, 0, 9, 0, 8, 0, 0], 6);
    // Reserved, the better next hop, the destination, and the datagram as an option.
    let octets = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
    let mut redirect = vec![REDIRECT, 0, 0, 0, 0, 0, 0, 0];
    redirect.extend(octets("fe80::2"));
    redirect.extend(octets(there));
    redirect.extend([4, 7, 0, 0, 0, 0, 0, 0]);
    redirect.extend(&datagram);
    let redirect = v6(["fe80::1", here], 58, 255, redirect, 2);
    let found = states(Family::V6, &[datagram, redirect]).expect("runs");
    assert_eq!(found, [["NEW", "NEW"], ["RELATED", "INVALID"]]);
}

#[test]
fn the_kernel_can_be_told_to_see_connections_begin() {
    if skipped() {
        return;
    }
    let header = |flags: u8| {
        vec![
            0, 7, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0,
        ]
    };
    let acknowledgement = v4(6, &summed(header(0x10), 16, 6));
    let packets = [acknowledgement];
    let found = states(Family::V4, &packets).expect("runs");
    assert_eq!(found, [["NEW", "NEW"]]);
    let strict = Some(("nf_conntrack_tcp_loose", "0"));
    let found = states_with(Family::V4, &packets, strict).expect("runs");
    assert_eq!(found, [["INVALID", "NEW"]]);
}
