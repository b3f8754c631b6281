//! Replacing under load: every packet gets a verdict that the old rules or the new ones give.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::places::{Cgroup, in_kernel, ipt2bpf, packets, wire};

/// Both rulesets accept packets to the first port, by two rules of which one ruleset's first and the other's
/// second together would drop them; both drop those to the second; they differ over the third.
const PORTS: [u16; 3] = [7001, 7002, 7003];
/// How many packets are on their way at once, fewer than a socket holds.
const BATCH: u32 = 16;

fn rules(dir: &Path, mark: u32, third: &str) -> Result<String> {
    let text = format!(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n-A PREROUTING -j MARK --set-mark {mark}\nCOMMIT\n\
         *filter\n:INPUT DROP [0:0]\n\
         -A INPUT -p udp --dport 7001 -m mark --mark {mark} -j ACCEPT\n\
         -A INPUT -p udp --dport 7002 -j DROP\n\
         -A INPUT -p udp --dport 7003 -j {third}\nCOMMIT\n"
    );
    let path = dir.join(format!("rules{mark}"));
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// Who sends to whom.
struct Traffic {
    sender: UdpSocket,
    receivers: [UdpSocket; 3],
}

/// What became of the packets.
#[derive(Default)]
struct Seen {
    sent: u32,
    /// How many of them arrived at the third port.
    third: u32,
}

impl Traffic {
    fn new(host: &str, sender: UdpSocket) -> Result<Traffic> {
        let [first, second, third] = PORTS.map(|port| UdpSocket::bind((host, port)));
        let receivers = [first?, second?, third?];
        receivers[0].set_read_timeout(Some(Duration::from_secs(10)))?;
        receivers[1].set_nonblocking(true)?;
        receivers[2].set_nonblocking(true)?;
        Ok(Traffic { sender, receivers })
    }

    /// Sends numbered packets to all ports until it is told to stop, and looks at what arrives.
    fn run(&self, stop: &AtomicBool) -> Result<Seen> {
        let mut seen = Seen::default();
        while !stop.load(Ordering::Relaxed) {
            let batch = seen.sent..seen.sent + BATCH;
            for number in batch.clone() {
                // The first port is the last: when its packet arrives, the others have met the rules.
                for receiver in self.receivers.iter().rev() {
                    self.sender
                        .send_to(&number.to_be_bytes(), receiver.local_addr()?)?;
                }
            }
            for number in batch {
                let mut bytes = [0; 4];
                self.receivers[0]
                    .recv(&mut bytes)
                    .with_context(|| format!("packet {number} is lost"))?;
                let arrived = u32::from_be_bytes(bytes);
                ensure!(
                    arrived == number,
                    "{arrived} arrives in the place of {number}"
                );
            }
            let mut bytes = [0; 4];
            if self.receivers[1].recv(&mut bytes).is_ok() {
                let number = u32::from_be_bytes(bytes);
                anyhow::bail!("packet {number} got through, and all rules drop it");
            }
            while self.receivers[2].recv(&mut bytes).is_ok() {
                seen.third += 1;
            }
            seen.sent += BATCH;
        }
        Ok(seen)
    }
}

/// Replaces rules at a place for a time, under load.
fn replace_under_load(dir: &Path, place: &str, traffic: &Traffic, time: Duration) -> Result<()> {
    let rulesets = [rules(dir, 1, "ACCEPT")?, rules(dir, 2, "DROP")?];
    ipt2bpf(&format!("attach {place} {}", rulesets[0]))?;
    let replace = |ruleset: &str| ipt2bpf(&format!("replace {place} {ruleset}")).map(drop);
    let stop = AtomicBool::new(false);
    let (seen, replaced) = std::thread::scope(|scope| {
        let load = scope.spawn(|| traffic.run(&stop));
        let start = Instant::now();
        let mut replaced = 0u64;
        let mut result = Ok(());
        while start.elapsed() < time && result.is_ok() && !load.is_finished() {
            for ruleset in rulesets.iter().rev() {
                result = result.and_then(|()| replace(ruleset));
                replaced += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let seen = load.join().ok().context("the load ended")?;
        result?;
        anyhow::Ok((seen?, replaced))
    })?;
    let shown = ipt2bpf(&format!("show -c {place}"))?;
    ipt2bpf(&format!("detach {place}"))?;
    // Each replacement may lose what is counted between two looks at the same counter.
    let counted = packets(&shown, "--dport 7002 -j DROP");
    let (sent, lost) = (u64::from(seen.sent), 10 * replaced);
    ensure!(
        matches!(counted[..], [counted] if (sent.saturating_sub(lost)..=sent).contains(&counted)),
        "{counted:?} of {sent} were counted"
    );
    eprintln!(
        "{replaced} replacements, {} packets to each port, of which {} found the third open",
        seen.sent, seen.third
    );
    ensure!(replaced >= 4, "only {replaced} replacements");
    ensure!(
        seen.third > 0 && seen.third < seen.sent,
        "the rules were never changed"
    );
    Ok(())
}

fn cgroup_for(time: Duration) {
    in_kernel(|dir| {
        let cgroup = Cgroup::new("soak")?;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        let traffic = cgroup.inside(|| Traffic::new("127.0.0.1", sender))??;
        let place = format!("--cgroup {}", cgroup.name());
        replace_under_load(dir, &place, &traffic, time)
    });
}

fn interface_for(time: Duration) {
    in_kernel(|dir| {
        let neighbour = wire()?;
        let sender = neighbour.does(|| UdpSocket::bind("10.77.0.2:0"))??;
        let traffic = Traffic::new("10.77.0.1", sender)?;
        replace_under_load(dir, "--xdp near", &traffic, time)
    });
}

#[test]
fn rules_of_a_cgroup_are_replaced_under_load() {
    cgroup_for(Duration::from_secs(2));
}

#[test]
fn rules_of_an_interface_are_replaced_under_load() {
    interface_for(Duration::from_secs(2));
}

#[test]
#[ignore = "takes minutes"]
fn rules_of_a_cgroup_are_replaced_under_load_for_minutes() {
    cgroup_for(Duration::from_secs(180));
}

#[test]
#[ignore = "takes minutes"]
fn rules_of_an_interface_are_replaced_under_load_for_minutes() {
    interface_for(Duration::from_secs(180));
}
