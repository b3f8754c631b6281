//! Following interfaces that come, go and change.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::places::{both_families, in_kernel, ipt2bpf, run, wire};
use crate::talk::listen;

/// The command as it stays; it ends with the value.
struct Watching(Child);

impl Watching {
    fn start() -> Result<Watching> {
        let child = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"))
            .arg("watch")
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Watching(child))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // There is no one to tell an error to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again, for some seconds.
fn eventually(what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..50 {
        if ask()? {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    anyhow::bail!("it never happens: {what}")
}

#[test]
fn an_interface_that_comes_back_gets_its_program_again() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", "-A INPUT -p tcp --dport 7002 -j DROP\n")?;
        let neighbour = wire()?;
        ipt2bpf(&format!("attach --xdp near {rules}"))?;
        let _watching = Watching::start()?;
        // It must have seen the interface before that goes.
        sleep(Duration::from_millis(500));
        drop(neighbour);
        // It may have gone with its peer's namespace already.
        let _ = run("ip", "link del near");
        eventually("the program is gone", || {
            Ok(!ipt2bpf("list")?.contains("near  xdp"))
        })?;
        let neighbour = wire()?;
        eventually("near has its program", || {
            Ok(ipt2bpf("list")?.contains("near  xdp"))
        })?;
        let _servers = listen(&["10.77.0.1"], &[7001, 7002])?;
        ensure!(neighbour.connects("10.77.0.1", 7001)?, "open");
        ensure!(!neighbour.connects("10.77.0.1", 7002)?, "closed");
        ensure!(
            ipt2bpf("show --xdp near")?.contains("--dport 7002"),
            "the same rules"
        );

        // What somebody detaches stays detached.
        ipt2bpf("detach --xdp near")?;
        run("ip", "addr add 10.77.1.1/24 dev near")?;
        sleep(Duration::from_millis(500));
        ensure!(ipt2bpf("list")?.is_empty(), "it is detached");
        Ok(())
    });
}

#[test]
fn programs_are_told_of_new_addresses_and_names() {
    in_kernel(|dir| {
        let rules = both_families(
            dir,
            "rules",
            "-A INPUT -p udp --dport 7001 -m addrtype --dst-type LOCAL -j DROP\n",
        )?;
        let neighbour = wire()?;
        ipt2bpf(&format!("attach --xdp near --xdp-path input {rules}"))?;
        run("ip", "addr add 10.77.0.9/24 dev near")?;
        let receiver = UdpSocket::bind("10.77.0.9:7001")?;
        receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
        let sender = neighbour.does(|| UdpSocket::bind("10.77.0.2:0"))??;
        let arrives = || -> Result<bool> {
            sender.send_to(b"hello", "10.77.0.9:7001")?;
            Ok(receiver.recv(&mut [0; 8]).is_ok())
        };
        ensure!(arrives()?, "the address is not known as local");
        let _watching = Watching::start()?;
        eventually("the address is known", || Ok(!arrives()?))?;
        // A change that comes later is followed, too.
        run("ip", "addr add 10.77.0.8/24 dev near")?;
        let receiver = UdpSocket::bind("10.77.0.8:7001")?;
        receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
        eventually("the next address is known", || {
            sender.send_to(b"hello", "10.77.0.8:7001")?;
            Ok(receiver.recv(&mut [0; 8]).is_err())
        })?;
        ipt2bpf("detach --xdp near")?;
        Ok(())
    });
}

#[test]
fn interfaces_that_get_another_name_are_followed() {
    in_kernel(|dir| {
        let rules = both_families(
            dir,
            "rules",
            "-A INPUT -i near -p tcp --dport 7002 -j DROP\n-A INPUT -i other -p tcp --dport 7003 -j DROP\n",
        )?;
        let neighbour = wire()?;
        ipt2bpf(&format!("attach --xdp near {rules}"))?;
        let _watching = Watching::start()?;
        let _servers = listen(&["0.0.0.0"], &[7001, 7002, 7003])?;
        let open = |neighbour: &crate::places::Neighbour| -> Result<[bool; 3]> {
            let connects = |port| neighbour.connects("10.77.0.1", port);
            Ok([connects(7001)?, connects(7002)?, connects(7003)?])
        };
        ensure!(
            open(&neighbour)? == [true, false, true],
            "under the old name"
        );
        let rename = || -> Result<()> {
            run("ip", "link set near down")?;
            run("ip", "link set near name other")?;
            run("ip", "link set other up").map(drop)
        };
        rename()?;
        eventually("the new name is known", || {
            Ok(open(&neighbour)? == [true, true, false])
        })?;
        ensure!(
            ipt2bpf("list")?.contains("other  xdp"),
            "{}",
            ipt2bpf("list")?
        );
        sleep(Duration::from_millis(500));
        drop(neighbour);
        let _ = run("ip", "link del other");
        eventually("the program is gone", || {
            Ok(!ipt2bpf("list")?.contains("other  xdp"))
        })?;
        // What is plugged in comes under a name of the kernel's and is given its own.
        let neighbour = wire()?;
        rename()?;
        eventually("other has its program", || {
            Ok(ipt2bpf("list")?.contains("other  xdp"))
        })?;
        eventually("and its rules", || {
            Ok(open(&neighbour)? == [true, true, false])
        })?;
        ipt2bpf("detach --xdp other")?;
        Ok(())
    });
}
