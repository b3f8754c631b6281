//! What goes on when rules change: counters, limits, quotas and verdicts, with packets on the way.

use std::fs;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};

use crate::places::{Cgroup, in_kernel, ipt2bpf, packets};

const HEAD: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n";

const LIMITED: &str = "-p udp -m udp --dport 7015 -m limit --limit 1/hour -j ACCEPT";
const QUOTA: &str = "-p udp -m udp --dport 7015 -m quota --quota 130 -j ACCEPT";
const NTH: &str = "-p udp -m udp --dport 7015 -m statistic --mode nth --every 4 --packet 0 -j DROP";

/// A receiver in a cgroup with a filter, and who sends to it.
struct Pair {
    _receiver: UdpSocket,
    sender: UdpSocket,
}

impl Pair {
    fn new(cgroup: &Cgroup, port: u16) -> Result<Pair> {
        let receiver = cgroup.inside(|| UdpSocket::bind(("127.0.0.1", port)))??;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        sender.connect(receiver.local_addr()?)?;
        Ok(Pair {
            _receiver: receiver,
            sender,
        })
    }

    /// Sends packets of 38 bytes from the IP header on.
    fn send(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.sender.send(&[0; 10])?;
        }
        Ok(())
    }
}

fn counted(rule: &str) -> Result<u64> {
    let found = packets(&ipt2bpf("show -c")?, rule);
    ensure!(found.len() == 1, "{rule}: {found:?}");
    Ok(found[0])
}

#[test]
fn limits_quotas_and_turns_go_on_when_rules_change() {
    in_kernel(|dir| {
        let cgroup = Cgroup::new("limits")?;
        let rules = dir.join("rules");
        let text = |first: &str, more: &str| {
            format!(
                "{HEAD}-A INPUT {first}\n-A INPUT {LIMITED}\n-A INPUT {QUOTA}\n-A INPUT {NTH}\n{more}COMMIT\n"
            )
        };
        fs::write(&rules, text("-s 192.0.2.1/32 -j DROP", ""))?;
        let place = format!("--cgroup {}", cgroup.name());
        ipt2bpf(&format!("attach {place} {}", rules.display()))?;
        let pair = Pair::new(&cgroup, 7015)?;
        // Five are in the bucket, three within the quota; then one of four is dropped, from the first on.
        pair.send(4)?;
        assert_eq!(counted(LIMITED)?, 4);
        ipt2bpf(&format!("iptables {place} -I INPUT 1 -s 192.0.2.2 -j DROP"))?;
        pair.send(3)?;
        assert_eq!((counted(LIMITED)?, counted(QUOTA)?), (5, 2));
        ipt2bpf(&format!("iptables {place} -D INPUT 2"))?;
        pair.send(3)?;
        assert_eq!(
            (counted(LIMITED)?, counted(QUOTA)?, counted(NTH)?),
            (5, 3, 1)
        );
        // A rule like one that is there has a bucket of its own, and leaves what the other has.
        ipt2bpf(&format!("iptables {place} -I INPUT 1 {LIMITED}"))?;
        pair.send(6)?;
        let limited = packets(&ipt2bpf("show -c")?, LIMITED);
        assert_eq!((limited.as_slice(), counted(NTH)?), (&[5, 5][..], 1));
        ipt2bpf(&format!("iptables {place} -D INPUT 1"))?;

        fs::write(
            &rules,
            text("-s 192.0.2.3/32 -j DROP", "-A INPUT -p tcp -j DROP\n"),
        )?;
        ipt2bpf(&format!("replace {place} {}", rules.display()))?;
        pair.send(2)?;
        assert_eq!(
            (counted(LIMITED)?, counted(QUOTA)?, counted(NTH)?),
            (5, 3, 2)
        );
        // So many more that the states need a larger map, and the counters, too.
        let many: String = (0..200)
            .map(|number| {
                format!("-A INPUT -s 198.51.100.{number}/32 -m limit --limit 1/s -j DROP\n")
            })
            .collect();
        fs::write(&rules, text("-s 192.0.2.3/32 -j DROP", &many))?;
        ipt2bpf(&format!("replace {place} {}", rules.display()))?;
        pair.send(4)?;
        assert_eq!(
            (counted(LIMITED)?, counted(QUOTA)?, counted(NTH)?),
            (5, 3, 3)
        );
        ipt2bpf(&format!("detach {place}"))?;
        Ok(())
    });
}

#[test]
fn rules_change_among_a_thousand_and_every_packet_is_counted_once() {
    const WANTED: &str = "-p udp -m udp --dport 7016 -j ACCEPT";
    in_kernel(|dir| {
        let cgroup = Cgroup::new("thousand")?;
        let rules = dir.join("rules");
        let others: String = (0..1000)
            .map(|number| {
                let (high, low) = (number / 250, number % 250);
                format!(
                    "-A INPUT -s 172.16.{high}.{low}/32 -p udp -m udp --sport {} -j DROP\n",
                    1000 + number
                )
            })
            .collect();
        fs::write(&rules, format!("{HEAD}{others}-A INPUT {WANTED}\nCOMMIT\n"))?;
        let place = format!("--cgroup {}", cgroup.name());
        ipt2bpf(&format!("attach {place} {}", rules.display()))?;
        let pair = Pair::new(&cgroup, 7016)?;
        let stop = AtomicBool::new(false);
        let sent = thread::scope(|scope| -> Result<u64> {
            let traffic = scope.spawn(|| -> Result<u64> {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    pair.send(1)?;
                    sent += 1;
                    thread::yield_now();
                }
                Ok(sent)
            });
            let change = || -> Result<()> {
                for words in [
                    "-I INPUT 1 -s 192.0.2.1 -j DROP",
                    "-A INPUT -s 127.0.0.1 -p udp --dport 7016 -j DROP",
                    "-D INPUT 500",
                    "-R INPUT 700 -s 192.0.2.2 -p udp --dport 7016 -j DROP",
                    "-I INPUT 300 -s 192.0.0.0/8 -j RETURN",
                    "-D INPUT 1",
                ] {
                    ipt2bpf(&format!("iptables {place} {words}"))?;
                }
                Ok(())
            };
            let changed = change();
            stop.store(true, Ordering::Relaxed);
            let sent = traffic.join().expect("no panic");
            changed.and(sent)
        })?;
        assert_eq!(counted(WANTED)?, sent);
        // The changes are in force: a rule in front takes what the other took, and gives it back.
        ipt2bpf(&format!(
            "iptables {place} -I INPUT 900 -p udp --dport 7016 -j DROP"
        ))?;
        pair.send(7)?;
        assert_eq!(counted("-A INPUT -p udp -m udp --dport 7016 -j DROP")?, 7);
        ipt2bpf(&format!("iptables {place} -D INPUT 900"))?;
        pair.send(5)?;
        assert_eq!(counted(WANTED)?, sent + 5);
        // And so is the end of what was always there.
        ipt2bpf(&format!("iptables {place} -D INPUT {WANTED}"))?;
        pair.send(3)?;
        assert_eq!(
            counted("-s 127.0.0.1/32 -p udp -m udp --dport 7016 -j DROP")?,
            3
        );
        ipt2bpf(&format!("detach {place}"))?;
        Ok(())
    });
}
