//! Attaching, replacing, showing and detaching, with real connections.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::places::{
    Cgroup, WIRE, attachments, both_families, both_families_apart, in_kernel, ipt2bpf, packets,
    run, wire,
};
use crate::talk::{LOOPBACKS, PATIENCE, address, connects, listen};

const CGROUP_RULES: &str = "\
-A INPUT -i lo -p tcp --dport 7001 -j ACCEPT
-A INPUT -i eth0 -p tcp -j ACCEPT
-A INPUT -i l+ -p tcp --dport 7002 -j DROP
-A OUTPUT -o lo -p tcp --dport 7003 -j ACCEPT
-A OUTPUT ! -o eth0 -p tcp --dport 7004 -j DROP
";

#[test]
fn a_cgroup_is_filtered_in_both_directions_until_detached() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", CGROUP_RULES)?;
        let cgroup = Cgroup::new("both")?;
        let _inside = cgroup.inside(|| listen(&LOOPBACKS, &[7001, 7002]))??;
        let _outside = listen(&LOOPBACKS, &[7003, 7004])?;
        let reached = |host: &str| -> Result<[bool; 4]> {
            Ok([
                connects(host, 7001),
                connects(host, 7002),
                cgroup.inside(|| connects(host, 7003))?,
                cgroup.inside(|| connects(host, 7004))?,
            ])
        };
        for host in LOOPBACKS {
            assert_eq!(reached(host)?, [true; 4], "{host} before");
        }
        ipt2bpf(&format!("attach --cgroup {} {rules}", cgroup.name()))?;
        for host in LOOPBACKS {
            assert_eq!(reached(host)?, [true, false, true, false], "{host}");
        }
        let saved = ipt2bpf("show -c")?;
        for (rule, moves) in [
            ("--dport 7001 -j ACCEPT", true),
            ("-i eth0 -p tcp -j ACCEPT", false),
            ("--dport 7002 -j DROP", true),
            ("--dport 7003 -j ACCEPT", true),
            ("--dport 7004 -j DROP", true),
        ] {
            let counted: Vec<bool> = packets(&saved, rule)
                .iter()
                .map(|&packets| packets > 0)
                .collect();
            assert_eq!(counted, [moves, moves], "{rule}:\n{saved}");
        }
        let list = attachments()?;
        assert_eq!(list.len(), 2, "{list:?}");
        assert!(
            list.iter().all(|line| line.starts_with(&cgroup.name())),
            "{list:?}"
        );

        ipt2bpf(&format!("zero --cgroup {}", cgroup.name()))?;
        assert_eq!(
            packets(&ipt2bpf("show -c")?, "--dport 7004 -j DROP"),
            [0, 0]
        );

        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        for host in LOOPBACKS {
            assert_eq!(reached(host)?, [true; 4], "{host} after");
        }
        assert_eq!(ipt2bpf("list")?, "");
        Ok(())
    });
}

#[test]
fn one_hook_leaves_the_other_direction_alone() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", CGROUP_RULES)?;
        let cgroup = Cgroup::new("hook")?;
        let _inside = cgroup.inside(|| listen(&LOOPBACKS, &[7002]))??;
        let _outside = listen(&LOOPBACKS, &[7004])?;
        ipt2bpf(&format!(
            "attach --hook cgroup_skb/egress --cgroup {} {rules}",
            cgroup.name()
        ))?;
        assert!(connects("127.0.0.1", 7002));
        assert!(!cgroup.inside(|| connects("127.0.0.1", 7004))?);
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn lists_outlive_a_reload_and_limits_begin_anew() {
    in_kernel(|dir| {
        let syn = "-A INPUT -p tcp --syn --dport";
        let first = both_families_apart(dir, "first", |family| {
            format!(
                "{syn} 7001 -m recent --set --name seen{family} -j ACCEPT\n\
                 {syn} 7002 -m limit --limit 1/day --limit-burst 1 -j ACCEPT\n\
                 {syn} 7002 -j DROP\n"
            )
        })?;
        let second = both_families_apart(dir, "second", |family| {
            format!(
                "{syn} 7001 -m recent --rcheck --name seen{family} -j DROP\n\
                 {syn} 7002 -m limit --limit 1/day --limit-burst 1 -j ACCEPT\n\
                 {syn} 7002 -j DROP\n"
            )
        })?;
        let cgroup = Cgroup::new("reload")?;
        let _inside = cgroup.inside(|| listen(&LOOPBACKS, &[7001, 7002]))??;
        let attach = |rules: &str| ipt2bpf(&format!("attach --cgroup {} {rules}", cgroup.name()));

        attach(&second)?;
        for host in LOOPBACKS {
            assert!(connects(host, 7001), "{host} is in no list yet");
        }
        attach(&first)?;
        for host in LOOPBACKS {
            assert!(connects(host, 7001));
            assert!(connects(host, 7002));
            assert!(!connects(host, 7002), "{host} is over the limit");
        }
        attach(&second)?;
        for host in LOOPBACKS {
            assert!(!connects(host, 7001), "{host} is in the list still");
            assert!(connects(host, 7002), "the limit of {host} began anew");
        }
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        attach(&second)?;
        assert!(connects("127.0.0.1", 7001), "nothing is kept over a detach");
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn programs_know_the_time() {
    in_kernel(|dir| {
        let rules = both_families(
            dir,
            "rules",
            "-A INPUT -p tcp --dport 7001 -m time --datestart 2024-01-01 -j ACCEPT\n\
             -A INPUT -p tcp --dport 7002 -m time --datestop 2024-01-01 -j ACCEPT\n\
             -A INPUT -p tcp --syn -j DROP\n",
        )?;
        let cgroup = Cgroup::new("time")?;
        let _inside = cgroup.inside(|| listen(&LOOPBACKS, &[7001, 7002]))??;
        ipt2bpf(&format!("attach --cgroup {} {rules}", cgroup.name()))?;
        for host in LOOPBACKS {
            assert!(connects(host, 7001));
            assert!(!connects(host, 7002));
        }
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn attaching_again_replaces_the_rules_and_counters_can_be_kept() {
    in_kernel(|dir| {
        let closed = both_families(dir, "closed", "-A INPUT -p tcp --dport 7001 -j DROP\n")?;
        let open = both_families(
            dir,
            "open",
            "[5:300] -A INPUT -p tcp --dport 7001 -j ACCEPT\n",
        )?;
        let cgroup = Cgroup::new("replace")?;
        let _inside = cgroup.inside(|| listen(&LOOPBACKS, &[7001]))??;
        let attach =
            |arguments: &str| ipt2bpf(&format!("attach --cgroup {} {arguments}", cgroup.name()));

        attach(&closed)?;
        assert!(!connects("127.0.0.1", 7001));
        attach(&open)?;
        assert_eq!(packets(&ipt2bpf("show -c")?, "-j ACCEPT"), [0, 0]);
        assert!(connects("127.0.0.1", 7001));
        attach(&format!("-c {open}"))?;
        assert_eq!(packets(&ipt2bpf("show -c")?, "-j ACCEPT"), [5, 5]);
        assert_eq!(attachments()?.len(), 2);

        let wrong = dir.join("wrong");
        fs::write(
            &wrong,
            "*filter\n:INPUT DROP [0:0]\n-A INPUT -m nothing\nCOMMIT\n",
        )?;
        assert!(attach(&wrong.display().to_string()).is_err());
        assert!(connects("127.0.0.1", 7001), "a failure changes nothing");
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn what_is_shown_can_be_read_again() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", CGROUP_RULES)?;
        let cgroup = Cgroup::new("show")?;
        ipt2bpf(&format!("attach --cgroup {} {rules}", cgroup.name()))?;
        let shown = ipt2bpf("show")?;
        assert_eq!(shown, ipt2bpf(&format!("--emit rules {rules}"))?);
        // iptables takes any bytes in a comment; here one that is no UTF-8.
        let table = b"*filter\n:INPUT DROP [0:0]\n-A INPUT -m comment --comment caf\xe9\nCOMMIT\n";
        fs::write(&rules, table)?;
        ipt2bpf(&format!("attach --cgroup {} {rules}", cgroup.name()))?;
        let shown = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .arg("show")
            .output()?
            .stdout;
        assert!(
            shown.windows(4).any(|bytes| bytes == b"caf\xe9"),
            "{shown:?}"
        );
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn an_interface_is_filtered_and_its_rules_replaced() {
    in_kernel(|dir| {
        let rules = both_families(
            dir,
            "rules",
            "-A INPUT -i near -p tcp --dport 7001 -j ACCEPT\n\
             -A INPUT -i far -j DROP\n\
             -A INPUT -i near -p tcp --dport 7002 -j DROP\n\
             -A FORWARD -j DROP\n",
        )?;
        let swapped = both_families(
            dir,
            "swapped",
            "-A INPUT -i n+ -p tcp --dport 7001 -j DROP\n",
        )?;
        let neighbour = wire()?;
        let _servers = listen(&WIRE, &[7001, 7002])?;
        let reached = |host| -> Result<[bool; 2]> {
            Ok([
                neighbour.connects(host, 7001)?,
                neighbour.connects(host, 7002)?,
            ])
        };
        for host in WIRE {
            assert_eq!(reached(host)?, [true, true], "{host} before");
        }
        ipt2bpf(&format!("attach --xdp near {rules}"))?;
        for host in WIRE {
            assert_eq!(reached(host)?, [true, false], "{host}");
        }
        let saved = ipt2bpf("show -c --xdp near")?;
        for (rule, moves) in [
            ("--dport 7001 -j ACCEPT", true),
            ("--dport 7002 -j DROP", true),
            ("-i far -j DROP", false),
            ("-A FORWARD -j DROP", false),
        ] {
            let counted: Vec<bool> = packets(&saved, rule)
                .iter()
                .map(|&packets| packets > 0)
                .collect();
            assert_eq!(counted, [moves, moves], "{rule}:\n{saved}");
        }
        ipt2bpf(&format!("attach --xdp near {swapped}"))?;
        for host in WIRE {
            assert_eq!(reached(host)?, [false, true], "{host} replaced");
        }
        ipt2bpf("detach --xdp near")?;
        for host in WIRE {
            assert_eq!(reached(host)?, [true, true], "{host} after");
        }
        Ok(())
    });
}

#[test]
fn an_interface_whose_driver_runs_no_programs_is_filtered_in_the_stack() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", "-A INPUT -i lo -p tcp --dport 7002 -j DROP\n")?;
        let _servers = listen(&LOOPBACKS, &[7001, 7002])?;
        let output = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .args(["attach", "--xdp", "lo", &rules])
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains("warning: the driver of lo runs no XDP programs"),
            "{said}"
        );
        for host in LOOPBACKS {
            assert!(connects(host, 7001), "{host}");
            assert!(!connects(host, 7002), "{host}");
        }
        ipt2bpf("detach --xdp lo")?;
        assert!(connects("127.0.0.1", 7002));
        Ok(())
    });
}

#[test]
fn loaded_programs_are_there_for_others_to_attach() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", CGROUP_RULES)?;
        let cgroup = Cgroup::new("pin")?;
        let pins = "/sys/fs/bpf/firewall";
        ipt2bpf(&format!("load --pin {pins} {rules}"))?;
        for (program, kind) in [
            ("ipt2bpf_ingress", "cgroup_skb"),
            ("ipt2bpf_egress", "cgroup_skb"),
            ("ipt2bpf_xdp", "xdp"),
        ] {
            let shown = run("bpftool", &format!("prog show pinned {pins}/{program}"))?;
            assert!(shown.contains(kind), "{shown}");
        }
        let _inside = cgroup.inside(|| listen(&LOOPBACKS, &[7002]))??;
        assert!(connects("127.0.0.1", 7002));
        run(
            "bpftool",
            &format!(
                "cgroup attach {} cgroup_inet_ingress pinned {pins}/ipt2bpf_ingress",
                cgroup.name()
            ),
        )?;
        assert!(!connects("127.0.0.1", 7002));
        assert!(!connects("[::1]", 7002));
        let saved = ipt2bpf(&format!("show -c --pin {pins}"))?;
        assert!(
            packets(&saved, "--dport 7002 -j DROP")
                .iter()
                .all(|&packets| packets > 0),
            "{saved}"
        );
        ipt2bpf(&format!("zero --pin {pins}"))?;
        let saved = ipt2bpf(&format!("show -c --pin {pins}"))?;
        assert_eq!(packets(&saved, "--dport 7002 -j DROP"), [0, 0]);
        Ok(())
    });
}

#[test]
fn programs_that_look_interfaces_up_are_told_them() {
    in_kernel(|dir| {
        // Where routing sends a packet no structure of the kernel tells yet.
        let rules = both_families(dir, "rules", "-A FORWARD -o near -j DROP\n")?;
        run("ip", "link add near type veth peer name far")?;
        let pins = "/sys/fs/bpf/firewall";
        let output = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .args(["load", "--hook", "xdp", "--pin", pins, &rules])
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains("warning[devices]: 2 rules ask for the names of interfaces"),
            "{said}"
        );
        let map = run("bpftool", &format!("map dump pinned {pins}/maps/devices"))?;
        assert!(map.contains("near"), "{map}");
        Ok(())
    });
}

#[test]
fn refusals_of_the_kernel_have_their_exit_code() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", CGROUP_RULES)?;
        let cgroup = Cgroup::new("refused")?;
        let output = Command::new("setpriv")
            .args(["--bounding-set=-all", "--inh-caps=-all"])
            .arg(env!("CARGO_BIN_EXE_ipt2bpf"))
            .args(["attach", "--cgroup", &cgroup.name(), &rules])
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("this needs root"), "{said}");
        assert_eq!(ipt2bpf("list")?, "");
        Ok(())
    });
}

#[test]
fn places_that_are_none_are_told() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", CGROUP_RULES)?;
        for (arguments, told) in [
            (
                format!("attach --xdp nowhere {rules}"),
                "there is no network interface nowhere",
            ),
            (
                format!("attach --cgroup {} {rules}", dir.display()),
                "is not a cgroup v2 directory",
            ),
            (
                format!("load --pin {} {rules}", dir.display()),
                "is not on a BPF file system",
            ),
            (
                "detach --xdp lo".to_owned(),
                "ipt2bpf has attached nothing to lo",
            ),
            ("show".to_owned(), "ipt2bpf has attached nothing"),
            (
                "show --pin /sys/fs/bpf/none".to_owned(),
                "/sys/fs/bpf/none is no directory",
            ),
        ] {
            let error = ipt2bpf(&arguments).expect_err(&arguments).to_string();
            assert!(error.contains("exit status: 1"), "{error}");
            assert!(error.contains(told), "{error}");
        }
        Ok(())
    });
}

/// Rules that ask for a set, in a file.
fn rules_with_set(dir: &Path) -> Result<String> {
    let rules = dir.join("sets.v4");
    fs::write(
        &rules,
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m set --match-set closed dst,dst -j DROP\nCOMMIT\n",
    )?;
    Ok(rules.display().to_string())
}

#[test]
fn the_sets_of_the_kernel_are_taken_and_followed() {
    in_kernel(|dir| {
        if Command::new("ipset").arg("version").output().is_err() {
            eprintln!("skipped: there is no ipset");
            return Ok(());
        }
        let rules = rules_with_set(dir)?;
        let cgroup = Cgroup::new("sets")?;
        let server = cgroup.inside(|| TcpListener::bind("127.0.0.1:0"))??;
        let port = server.local_addr()?.port();
        let place = cgroup.name();
        let missing = ipt2bpf(&format!("attach --cgroup {place} {rules}"));
        let said = format!("{:#}", missing.expect_err("there is no set"));
        ensure!(
            said.contains("closed") && said.contains("not given"),
            "{said}"
        );
        run("ipset", "create closed hash:ip,port")?;
        run("ipset", &format!("add closed 127.0.0.1,tcp:{port}"))?;
        ipt2bpf(&format!("attach --cgroup {place} {rules}"))?;
        ensure!(!connects("127.0.0.1", port), "the port is closed");
        let mut following = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .args(["attach", "--cgroup", &place, "--follow", "1", &rules])
            .spawn()?;
        // It begins with the set as it is.
        std::thread::sleep(3 * PATIENCE);
        run("ipset", "flush closed")?;
        let opened = (0..20).any(|_| {
            std::thread::sleep(PATIENCE);
            connects("127.0.0.1", port)
        });
        following.kill()?;
        following.wait()?;
        ipt2bpf(&format!("detach --cgroup {place}"))?;
        ensure!(opened, "the change is not followed");
        Ok(())
    });
}

#[test]
fn log_tells_what_rules_log() {
    in_kernel(|dir| {
        let cgroup = Cgroup::new("log")?;
        let place = format!("--cgroup {}", cgroup.name());
        let rules = both_families(
            dir,
            "rules",
            "-A INPUT -p udp -m udp --dport 7777 -j LOG --log-level info --log-prefix in:\n\
             -A OUTPUT -p udp -m udp --dport 7777 -j LOG --log-prefix out:\n\
             -A OUTPUT -p udp -m udp --dport 7777 -j NFLOG --nflog-group 5 --nflog-prefix nf:\n",
        )?;
        ipt2bpf(&format!("attach {place} {rules}"))?;
        let sockets = cgroup.inside(|| {
            let make = |host| UdpSocket::bind(address(host, 7777));
            LOOPBACKS
                .map(make)
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
        })??;
        let send = || -> Result<()> {
            for socket in &sockets {
                socket.send_to(b"hello", socket.local_addr()?)?;
            }
            Ok(())
        };
        send()?;
        let said = ipt2bpf(&format!("log {place} --count 6"))?;
        let mac = "00:00:00:00:00:00:00:00:00:00:00:00";
        let (end, one) = (
            "PROTO=UDP SPT=7777 DPT=7777 LEN=13 ",
            "0000:".repeat(7) + "0001",
        );
        let expected = [
            "out:IN= OUT=lo SRC=127.0.0.1 DST=127.0.0.1 LEN=33 TOS=0x00 PREC=0x00 TTL=64 ID="
                .into(),
            "nf:IN= OUT=lo SRC=127.0.0.1 DST=127.0.0.1 LEN=33 TOS=0x00 PREC=0x00 TTL=64 ID=".into(),
            format!(
                "in:IN=lo OUT= MAC={mac}:08:00 SRC=127.0.0.1 DST=127.0.0.1 LEN=33 TOS=0x00 PREC="
            ),
            format!("out:IN= OUT=lo SRC={one} DST={one} LEN=53 TC=0 HOPLIMIT=64 FLOWLBL="),
            format!("nf:IN= OUT=lo SRC={one} DST={one} LEN=53 TC=0 HOPLIMIT=64 FLOWLBL="),
            format!(
                "in:IN=lo OUT= MAC={mac}:86:dd SRC={one} DST={one} LEN=53 TC=0 HOPLIMIT=64 FLOWLBL="
            ),
        ];
        let lines: Vec<&str> = said.lines().collect();
        ensure!(lines.len() == expected.len(), "{said}");
        for (line, expected) in lines.iter().zip(&expected) {
            ensure!(
                line.starts_with(expected) && line.ends_with(end),
                "{said}\n{expected}"
            );
        }

        send()?;
        let journal = UnixDatagram::bind(dir.join("socket"))?;
        let socket = dir.join("socket").display().to_string();
        ipt2bpf(&format!("log {place} --syslog={socket} --count 3"))?;
        let mut message = [0; 2048];
        for expected in [
            "<4>ipt2bpf: out:IN= ",
            "<6>ipt2bpf: nf:IN= ",
            "<6>ipt2bpf: in:IN=lo ",
        ] {
            let length = journal.recv(&mut message)?;
            let text = String::from_utf8_lossy(&message[..length]);
            ensure!(
                text.starts_with(expected) && !text.ends_with('\n'),
                "{text}"
            );
        }

        // Three of the last round are left. What is not asked for is taken all the same.
        let file = dir.join("packets.pcap").display().to_string();
        send()?;
        ipt2bpf(&format!("log {place} --group 5 --pcap {file} --count 3"))?;
        let packets = run("tcpdump", &format!("-nr {file}"))?;
        ensure!(packets.lines().count() == 3, "{packets}");
        ensure!(
            packets.contains(" IP6 ::1.7777 > ::1.7777: UDP, length 5"),
            "{packets}"
        );

        ipt2bpf(&format!("detach {place}"))?;
        Ok(())
    });
}

#[test]
fn log_says_when_nothing_can_be_logged_and_what_was_lost() {
    in_kernel(|dir| {
        let cgroup = Cgroup::new("lost")?;
        let place = format!("--cgroup {}", cgroup.name());
        let silent = both_families(dir, "silent", "-A INPUT -j ACCEPT\n")?;
        ipt2bpf(&format!("attach {place} {silent}"))?;
        let error = ipt2bpf(&format!("log {place}")).unwrap_err().to_string();
        ensure!(error.contains("no rule in force logs anything"), "{error}");

        let loud = both_families(dir, "loud", "-A OUTPUT -p udp -j NFLOG\n")?;
        ipt2bpf(&format!("attach {place} {loud}"))?;
        let socket = cgroup.inside(|| UdpSocket::bind(address("127.0.0.1", 0)))??;
        // A ring has room for 15 records of 65,536 bytes and their heads.
        let datagram = vec![0; 60_000];
        for _ in 0..20 {
            socket.send_to(&datagram, socket.local_addr()?)?;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .args(["log", "--count", "15", "--cgroup", &cgroup.name()])
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}");
        ensure!(said.contains("5 records were lost"), "{said}");
        ensure!(output.stdout.iter().filter(|&&byte| byte == b'\n').count() == 15);
        ipt2bpf(&format!("detach {place}"))?;
        Ok(())
    });
}

/// A firewall as most hosts have it: answers, new connections to port 22, neighbour discovery.
fn stateful(dir: &Path, name: &str, extra: &str) -> Result<String> {
    both_families_apart(dir, name, |family| {
        let discovery = match family {
            6 => "-A INPUT -p ipv6-icmp -m conntrack --ctstate UNTRACKED -j ACCEPT\n",
            _ => "",
        };
        format!(
            "{discovery}{extra}-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT\n\
             -A INPUT -j DROP\n"
        )
    })
}

/// Whether each of the two hears the other, the second first.
fn talk(one: &mut TcpStream, other: &mut TcpStream) -> Result<bool> {
    fn hears(from: &mut TcpStream, to: &mut TcpStream) -> Result<bool> {
        to.set_read_timeout(Some(PATIENCE))?;
        from.write_all(b"heard")?;
        let mut bytes = [0; 5];
        Ok(to.read_exact(&mut bytes).is_ok() && bytes == *b"heard")
    }
    Ok(hears(other, one)? && hears(one, other)?)
}

/// Whether a datagram arrives.
fn datagram(from: &UdpSocket, to: &UdpSocket) -> Result<bool> {
    from.send_to(b"heard", to.local_addr()?)?;
    to.set_read_timeout(Some(PATIENCE))?;
    Ok(to.recv(&mut [0; 5]).is_ok())
}

/// A connection that one side's socket opens to the other's.
fn connected(listener: &TcpListener) -> Result<[TcpStream; 2]> {
    let client = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    Ok([client, listener.accept()?.0])
}

#[test]
fn a_cgroup_hears_answers_and_new_connections_where_they_are_welcome() {
    in_kernel(|dir| {
        let rules = stateful(dir, "rules", "")?;
        let more = stateful(dir, "more", "-A INPUT -p tcp -m tcp --dport 1 -j DROP\n")?;
        let cgroup = Cgroup::new("stateful")?;
        for host in LOOPBACKS {
            let outside = TcpListener::bind(address(host, 0))?;
            // A connection that is older than the rules.
            let [mut old, mut old_peer] = cgroup.inside(|| connected(&outside))??;
            ipt2bpf(&format!("attach --cgroup {} {rules}", cgroup.name()))?;
            ensure!(talk(&mut old, &mut old_peer)?, "{host}: an old connection");
            let [mut client, mut server] = cgroup.inside(|| connected(&outside))??;
            ensure!(talk(&mut client, &mut server)?, "{host}: a new connection");
            let _welcome = cgroup.inside(|| listen(&[host], &[22, 23]))??;
            ensure!(connects(host, 22) && !connects(host, 23), "{host}: ports");

            let [mine, theirs] = [
                cgroup.inside(|| UdpSocket::bind(address(host, 0)))??,
                UdpSocket::bind(address(host, 0))?,
            ];
            ensure!(
                !datagram(&theirs, &mine)?,
                "{host}: an unsolicited datagram"
            );
            ensure!(datagram(&mine, &theirs)?, "{host}: a question");
            ensure!(datagram(&theirs, &mine)?, "{host}: its answer");

            let listed = ipt2bpf(&format!("conntrack -L -p tcp --cgroup {}", cgroup.name()))?;
            ensure!(listed.contains("ESTABLISHED src="), "{listed}");
            ipt2bpf(&format!("attach --cgroup {} {more}", cgroup.name()))?;
            ensure!(
                talk(&mut client, &mut server)?,
                "{host}: after a replacement"
            );
            let deleted = ipt2bpf(&format!("conntrack -D -p tcp --cgroup {}", cgroup.name()))?;
            ensure!(deleted.lines().count() >= 2, "{deleted}");
            let count = ipt2bpf(&format!("conntrack -C -p tcp --cgroup {}", cgroup.name()))?;
            ensure!(count == "0\n", "{count}");
            ensure!(
                !talk(&mut old, &mut old_peer)?,
                "{host}: a forgotten connection"
            );
            ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        }
        Ok(())
    });
}

#[test]
fn an_interface_hears_answers_to_what_the_host_sends() {
    in_kernel(|dir| {
        let rules = stateful(dir, "rules", "")?;
        let more = stateful(dir, "more", "-A INPUT -p tcp -m tcp --dport 1 -j DROP\n")?;
        let neighbour = wire()?;
        for [near, far] in [["10.77.0.1", "10.77.0.2"], ["[fd77::1]", "[fd77::2]"]] {
            let outside = neighbour.does(move || TcpListener::bind(address(far, 0)))??;
            let [mut old, mut old_peer] = connected(&outside)?;
            ipt2bpf(&format!("attach --xdp near {rules}"))?;
            let listed = ipt2bpf("list")?;
            ensure!(
                listed.contains("near  cgroup_skb/egress") && listed.contains("near  xdp"),
                "{listed}"
            );
            ensure!(talk(&mut old, &mut old_peer)?, "{far}: an old connection");
            let [mut client, mut server] = connected(&outside)?;
            ensure!(talk(&mut client, &mut server)?, "{far}: a new connection");
            let _welcome = listen(&[near], &[22, 23])?;
            let near_port = |port| neighbour.connects(near, port);
            ensure!(near_port(22)? && !near_port(23)?, "{near}: ports");

            let mine = UdpSocket::bind(address(near, 0))?;
            let theirs = neighbour.does(move || UdpSocket::bind(address(far, 0)))??;
            ensure!(
                !datagram(&theirs, &mine)?,
                "{near}: an unsolicited datagram"
            );
            ensure!(datagram(&mine, &theirs)?, "{far}: a question");
            ensure!(datagram(&theirs, &mine)?, "{near}: its answer");

            ipt2bpf(&format!("attach --xdp near {more}"))?;
            ensure!(
                talk(&mut client, &mut server)?,
                "{far}: after a replacement"
            );
            ipt2bpf("detach --xdp near")?;
            ensure!(ipt2bpf("list")?.is_empty(), "something is left");
            ensure!(talk(&mut client, &mut server)?, "{far}: after detaching");
        }
        Ok(())
    });
}

/// Rules ask for groups by their paths, and the command finds them.
#[test]
fn a_group_is_known_by_its_path() {
    in_kernel(|dir| {
        let [inner, other] = ["bypath", "bypathother"].map(Cgroup::new);
        let (inner, other) = (inner?, other?);
        let path = inner.name();
        let name = path.rsplit('/').next().unwrap_or_default();
        fs::write(
            dir.join("rules"),
            format!(
                "*filter\n:OUTPUT ACCEPT [0:0]\n\
                 -A OUTPUT -p tcp --dport 7003 -m cgroup --path {name} -j DROP\n\
                 -A OUTPUT -p tcp --dport 7004 -m cgroup ! --path /{name} -j DROP\nCOMMIT\n"
            ),
        )?;
        let rules = dir.join("rules").display().to_string();
        let _servers = listen(&["127.0.0.1"], &[7003, 7004])?;
        ipt2bpf(&format!(
            "load --pin /sys/fs/bpf/groups --hook cgroup_skb/egress {rules}"
        ))?;
        for group in [&inner, &other] {
            let attach = format!(
                "cgroup attach {} cgroup_inet_egress pinned /sys/fs/bpf/groups/ipt2bpf_egress",
                group.name()
            );
            run("bpftool", &attach)?;
        }
        let reached = |group: &Cgroup| -> Result<[bool; 2]> {
            group.inside(|| [7003, 7004].map(|port| connects("127.0.0.1", port)))
        };
        ensure!(reached(&inner)? == [false, true], "inside");
        ensure!(reached(&other)? == [true, false], "outside");

        let none = fs::read_to_string(dir.join("rules"))?.replace(name, "ipt2bpf-none");
        fs::write(dir.join("rules"), none)?;
        let said = ipt2bpf(&format!("load --pin /sys/fs/bpf/none {rules}")).expect_err("no group");
        ensure!(said.to_string().contains("make the group"), "{said}");
        Ok(())
    });
}
