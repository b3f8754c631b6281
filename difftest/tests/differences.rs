//! What our connection tracking does otherwise than the kernel's by design, each difference shown: the list is
//! in `ipt2bpf_codegen::track`. That of a full table is shown by the floods, that of first fragments where the
//! reference is tested.

use anyhow::Result;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_difftest::checksum::{checksum, crc32c};
use ipt2bpf_difftest::compare::Subject;
use ipt2bpf_difftest::frame::Frame;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{self, Route};
use ipt2bpf_difftest::netns;
use ipt2bpf_difftest::subjects::{self, program::Program};
use ipt2bpf_parser::ruleset::Family;

const STATES: [&str; 4] = ["INVALID", "NEW", "ESTABLISHED", "RELATED"];

/// The states that netfilter and the program at XDP give to packets that arrive one after the other.
fn states(family: Family, packets: &[Vec<u8>]) -> Result<Vec<[&'static str; 2]>> {
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
fn the_kernel_reads_the_chunks_of_sctp() {
    if skipped() {
        return;
    }
    const SCTP: u8 = 132;
    let packet = |port: u8, chunk: &[u8]| {
        let mut packet = [&[0, port, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0], chunk].concat();
        let sum = crc32c(&packet);
        packet[8..12].copy_from_slice(&sum);
        v4(SCTP, &packet)
    };
    let init = packet(
        1,
        &[1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1],
    );
    let abort = packet(2, &[6, 0, 0, 4]);
    let found = states(Family::V4, &[init, abort]).expect("runs");
    assert_eq!(found, [["NEW", "NEW"], ["INVALID", "NEW"]]);
}
