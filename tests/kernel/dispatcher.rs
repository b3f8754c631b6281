//! An interface that is shared with programs of others through libxdp's dispatcher, as xdp-loader makes it.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::places::{Neighbour, attachments, in_kernel, ipt2bpf, packets, run, wire};

/// A port that all accept, one that our rules drop, one that the others' do, and one that our later rules drop.
const OPEN: u16 = 7001;
const OURS: u16 = 7002;
const THEIRS: u16 = 7003;
const LATER: u16 = 7004;

/// Runs a test where the kernel lets programs replace functions of others and xdp-loader is there; says so where
/// not. A kernel that does not let them must be what the command tells of.
pub fn with_dispatchers(test: impl FnOnce(&Path, &Neighbour) -> Result<()> + Send) {
    if Command::new("xdp-loader").arg("help").output().is_err() {
        eprintln!("skipped: needs xdp-loader");
        return;
    }
    in_kernel(|dir| {
        let neighbour = wire()?;
        let rules = rules(dir, "try", OURS)?;
        if let Err(error) = ipt2bpf(&format!("attach --xdp near --xdp-mode dispatcher {rules}")) {
            let said = format!("{error:#}");
            ensure!(
                said.contains("for a dispatcher: Operation not permitted"),
                "{said}"
            );
            ensure!(said.contains("locked down"), "{said}");
            ensure!(ipt2bpf("list")?.is_empty(), "something is attached");
            eprintln!(
                "the kernel lets no program replace functions of others: only what is said of that was tried"
            );
            return Ok(());
        }
        ipt2bpf("detach --xdp near")?;
        ensure!(dispatchers()?.is_empty(), "a dispatcher is left");
        test(dir, &neighbour)
    });
}

/// Rules that drop what is sent to a port.
pub fn rules(dir: &Path, name: &str, port: u16) -> Result<String> {
    let path = dir.join(name);
    fs::write(
        &path,
        format!(
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp -m udp --dport {port} -j DROP\nCOMMIT\n"
        ),
    )?;
    Ok(path.display().to_string())
}

/// The dispatchers that are pinned.
pub fn dispatchers() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir("/sys/fs/bpf/xdp") else {
        return Ok(Vec::new());
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// An object with a program of ours, for others to load.
fn theirs(dir: &Path) -> Result<String> {
    let object = dir.join("theirs.o").display().to_string();
    ipt2bpf(&format!(
        "--hook xdp -o {object} {}",
        rules(dir, "theirs", THEIRS)?
    ))?;
    Ok(object)
}

/// The priorities of the programs that the dispatcher calls, as xdp-loader tells them.
fn priorities() -> Result<Vec<u32>> {
    let status = run("xdp-loader", "status near")?;
    let lines = status.lines().filter(|line| line.starts_with(" =>"));
    lines
        .map(|line| {
            let priority = line.split_whitespace().nth(1).context("a priority")?;
            Ok(priority.parse()?)
        })
        .collect()
}

/// Sockets behind the interface and one before it.
struct Ports {
    receivers: Vec<(u16, UdpSocket)>,
    sender: UdpSocket,
}

impl Ports {
    fn new(neighbour: &Neighbour) -> Result<Ports> {
        let sender = neighbour.does(|| UdpSocket::bind("10.77.0.2:0"))??;
        let receivers = [OURS, THEIRS, LATER, OPEN];
        let receivers = receivers.map(|port| Ok((port, UdpSocket::bind(("10.77.0.1", port))?)));
        Ok(Ports {
            receivers: receivers.into_iter().collect::<Result<_>>()?,
            sender,
        })
    }

    /// The ports that are dropped.
    fn dropped(&self) -> Result<Vec<u16>> {
        for (_, receiver) in &self.receivers {
            self.sender.send_to(b"packet", receiver.local_addr()?)?;
        }
        let mut dropped = Vec::new();
        let mut bytes = [0; 8];
        // The open port is the last: when its packet is there, the others have met the programs.
        for (port, receiver) in self.receivers.iter().rev() {
            match *port {
                OPEN => {
                    receiver.set_read_timeout(Some(Duration::from_secs(10)))?;
                    receiver.recv(&mut bytes).context("the open port")?;
                }
                port => {
                    receiver.set_nonblocking(true)?;
                    if receiver.recv(&mut bytes).is_err() {
                        dropped.insert(0, port);
                    }
                }
            }
        }
        Ok(dropped)
    }
}

#[test]
fn a_filter_joins_a_dispatcher_and_leaves_it_to_the_others() {
    with_dispatchers(|dir, neighbour| {
        let ports = Ports::new(neighbour)?;
        run("xdp-loader", &format!("load near {}", theirs(dir)?))?;
        ensure!(ports.dropped()? == [THEIRS], "theirs runs");
        ipt2bpf(&format!("attach --xdp near {}", rules(dir, "ours", OURS)?))?;
        ensure!(ports.dropped()? == [OURS, THEIRS], "both run");
        ensure!(priorities()? == [10, 50], "{:?}", priorities()?);
        let listed = ipt2bpf("list")?;
        let lines: Vec<&str> = listed.lines().collect();
        ensure!(lines.len() == 3, "{listed}");
        ensure!(
            lines[1].starts_with("    1. ") && lines[1].ends_with("(this one)"),
            "{listed}"
        );
        ensure!(
            lines[2].starts_with("    2. ") && lines[2].ends_with("ipt2bpf_xdp"),
            "{listed}"
        );

        // Rules are changed in every way, and theirs stays.
        let counted = |port: u16| -> Result<Vec<u64>> {
            let rule = format!("--dport {port} -j DROP");
            Ok(packets(&ipt2bpf("show -c --xdp near")?, &rule))
        };
        ensure!(counted(OURS)? == [1], "{:?}", counted(OURS)?);
        let later = format!("-p udp -m udp --dport {LATER} -j DROP");
        ipt2bpf(&format!("iptables --xdp near -A INPUT {later}"))?;
        ensure!(
            ports.dropped()? == [OURS, THEIRS, LATER],
            "{:?}",
            ports.dropped()?
        );
        ensure!(
            counted(OURS)? == [2] && counted(LATER)? == [1],
            "counters go on"
        );
        ipt2bpf(&format!(
            "replace --xdp near {}",
            rules(dir, "later", LATER)?
        ))?;
        ensure!(
            ports.dropped()? == [THEIRS, LATER],
            "{:?}",
            ports.dropped()?
        );
        ensure!(counted(LATER)? == [2], "{:?}", counted(LATER)?);
        ensure!(dispatchers()?.len() == 1, "{:?}", dispatchers()?);

        ipt2bpf("detach --xdp near")?;
        ensure!(ports.dropped()? == [THEIRS], "{:?}", ports.dropped()?);
        ensure!(priorities()? == [50], "{:?}", priorities()?);
        ensure!(!Path::new("/sys/fs/bpf/ipt2bpf").exists(), "pins are left");
        run("xdp-loader", "unload near --all")?;
        ensure!(dispatchers()?.is_empty(), "{:?}", dispatchers()?);
        Ok(())
    });
}

#[test]
fn others_join_the_dispatcher_of_a_filter_and_leave_it() {
    with_dispatchers(|dir, neighbour| {
        let ports = Ports::new(neighbour)?;
        let ours = rules(dir, "ours", OURS)?;
        ipt2bpf(&format!("attach --xdp near --xdp-mode dispatcher {ours}"))?;
        ensure!(ports.dropped()? == [OURS], "{:?}", ports.dropped()?);
        run("xdp-loader", &format!("load near {}", theirs(dir)?))?;
        ensure!(ports.dropped()? == [OURS, THEIRS], "{:?}", ports.dropped()?);
        ensure!(priorities()? == [10, 50], "{:?}", priorities()?);
        let listed = ipt2bpf("list")?;
        ensure!(listed.lines().count() == 3, "{listed}");
        // What was pinned of the first dispatcher is of no use, and the next command finds that.
        ipt2bpf(&format!("attach --xdp near {ours}"))?;
        ensure!(dispatchers()?.len() == 1, "{:?}", dispatchers()?);

        let listed = ipt2bpf("list")?;
        let other = listed.lines().find(|line| line.starts_with("    2."));
        let other = other.and_then(|line| line.split_whitespace().nth(2));
        let other = other.context("the other program")?;
        run("xdp-loader", &format!("unload near --id {other}"))?;
        ensure!(ports.dropped()? == [OURS], "{:?}", ports.dropped()?);
        ipt2bpf("detach --xdp near")?;
        ensure!(ports.dropped()?.is_empty(), "{:?}", ports.dropped()?);
        ensure!(dispatchers()?.is_empty(), "{:?}", dispatchers()?);

        // Whoever removes all removes ours, too; that is seen, and put right by the next command.
        ipt2bpf(&format!("attach --xdp near --xdp-mode dispatcher {ours}"))?;
        run("xdp-loader", "unload near --all")?;
        let listed = ipt2bpf("list")?;
        ensure!(listed.contains("its place is gone"), "{listed}");
        ipt2bpf(&format!("attach --xdp near {ours}"))?;
        ensure!(ports.dropped()? == [OURS], "{:?}", ports.dropped()?);
        ensure!(attachments()?.len() == 1, "{:?}", attachments()?);
        ipt2bpf("detach --xdp near")?;
        ensure!(!Path::new("/sys/fs/bpf/ipt2bpf").exists(), "pins are left");
        Ok(())
    });
}

#[test]
fn either_all_interfaces_get_the_program_or_none() {
    with_dispatchers(|dir, neighbour| {
        let ports = Ports::new(neighbour)?;
        run("ip", "link add one type veth peer name other")?;
        let ours = rules(dir, "ours", OURS)?;
        run("xdp-loader", &format!("load near {}", theirs(dir)?))?;
        // One is called, the other runs by itself.
        ipt2bpf(&format!("attach --xdp near --xdp one {ours}"))?;
        ensure!(ports.dropped()? == [OURS, THEIRS], "{:?}", ports.dropped()?);
        let link = run("ip", "link show dev one")?;
        ensure!(link.contains(" xdp "), "{link}");
        ipt2bpf("detach --xdp one")?;

        ipt2bpf(&format!("load --pin /sys/fs/bpf/theirs {ours}"))?;
        run(
            "ip",
            "link set dev one xdp pinned /sys/fs/bpf/theirs/ipt2bpf_xdp",
        )?;
        let later = rules(dir, "later", LATER)?;
        let Err(error) = ipt2bpf(&format!("attach --xdp near --xdp one {later}")) else {
            bail!("one has another program");
        };
        let said = format!("{error:#}");
        ensure!(said.contains("one already runs"), "{said}");
        ensure!(ports.dropped()? == [OURS, THEIRS], "{:?}", ports.dropped()?);
        ipt2bpf("detach --xdp near")?;
        ensure!(
            ipt2bpf(&format!("attach --xdp near --xdp one {later}")).is_err(),
            "as before"
        );
        ensure!(ports.dropped()? == [THEIRS], "{:?}", ports.dropped()?);
        ensure!(priorities()? == [50], "{:?}", priorities()?);
        ensure!(!Path::new("/sys/fs/bpf/ipt2bpf").exists(), "pins are left");
        ensure!(dispatchers()?.len() == 1, "{:?}", dispatchers()?);
        Ok(())
    });
}
