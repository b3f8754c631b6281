//! An unmodified iptables under `ipt2bpf run`, beside one that speaks to the kernel.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipt2bpf_difftest::netns::isolated;

use crate::places::{Cgroup, in_kernel, ipt2bpf, run};
use crate::talk::{connects, listen};

const TOOLS: [&str; 6] = [
    "iptables-legacy",
    "iptables-legacy-save",
    "iptables-legacy-restore",
    "ip6tables-legacy",
    "ip6tables-legacy-save",
    "ip6tables-legacy-restore",
];

/// Runs a test like [`in_kernel`], if the tools are there.
pub fn with_iptables(test: impl FnOnce(&Path) -> Result<()> + Send) {
    for tool in TOOLS {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!("skipped: needs {tool}");
            return;
        }
    }
    in_kernel(test);
}

/// What a command prints and how it ends, in words that do not change from day to day.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: Option<i32>,
    output: String,
    errors: String,
}

fn outcome(command: &mut Command) -> Result<Outcome> {
    let output = command.output()?;
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.lines().filter(|line| !line.starts_with("# "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    Ok(Outcome {
        status: output.status.code(),
        output: text(output.stdout),
        errors: text(output.stderr),
    })
}

/// A command for the programs of a cgroup.
fn supervised(cgroup: &Cgroup, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipt2bpf"));
    command.args(["run", "--cgroup", &cgroup.name(), "--"]);
    command.args(words.split(' '));
    command
}

/// A command for the kernel's tables.
fn native(words: &str) -> Command {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// The tables that the kernel has for this network namespace.
fn kernel_tables() -> Result<String> {
    let of = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
    Ok(of("ip_tables_names").unwrap_or_default() + &of("ip6_tables_names").unwrap_or_default())
}

/// Rules that are all different.
fn many_rules(number: usize) -> String {
    let rules = (0..number).map(|rule| {
        let (high, low, port) = (rule / 256, rule % 256, rule + 1);
        format!("-A INPUT -s 10.1.{high}.{low}/32 -p tcp -m tcp --dport {port} -j DROP\n")
    });
    let rules: String = rules.collect();
    format!(
        "*filter\n:INPUT ACCEPT [7:700]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}COMMIT\n"
    )
}

/// What is asked of both, one after the other; DIR holds the files.
const SCRIPT: &[&str] = &[
    "iptables-legacy -A INPUT -p tcp --dport 22 -j DROP",
    "iptables-legacy -L -v -n",
    "iptables-legacy -D INPUT -p tcp --dport 22 -j DROP",
    "iptables-legacy -D INPUT -p tcp --dport 22 -j DROP",
    "iptables-legacy-save",
    "iptables-legacy-restore DIR/many",
    "iptables-legacy-save",
    "iptables-legacy-save -c",
    "iptables-legacy-restore -c DIR/counted",
    "iptables-legacy-save -c",
    "iptables-legacy -I INPUT 2 -i eth+ ! -s 192.0.2.0/24 -m conntrack --ctstate NEW -j own",
    "iptables-legacy -R INPUT 1 -p udp -m multiport --dports 53,123 -j ACCEPT",
    "iptables-legacy-save -c",
    "iptables-legacy -X own",
    "iptables-legacy -N other",
    "iptables-legacy -A other -g own",
    "iptables-legacy -A own -j other",
    "iptables-legacy -E other another",
    "iptables-legacy -P INPUT DROP",
    "iptables-legacy -Z INPUT 1",
    "iptables-legacy -S",
    "iptables-legacy -L -v -n -x --line-numbers",
    "iptables-legacy -t raw -A PREROUTING -s 198.51.100.7 -j DROP",
    "iptables-legacy-save -c",
    "iptables-legacy -t nonesuch -L",
    "iptables-legacy -A INPUT -j nonesuch",
    "iptables-legacy -F",
    "iptables-legacy -X",
    "iptables-legacy-save",
    "ip6tables-legacy -A OUTPUT -d 2001:db8::/32 -p tcp --dport 25 -j REJECT",
    "ip6tables-legacy -L -v -n",
    "ip6tables-legacy-save -c",
];

/// What dockerd and the start and end of a container ask for, in their order (the bridge driver of moby's
/// libnetwork); some of it fails on a fresh machine.
const DOCKER: &[&str] = &[
    "iptables-legacy --wait -t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "iptables-legacy --wait -t nat -F DOCKER",
    "iptables-legacy --wait -t filter -X DOCKER",
    "iptables-legacy --wait -t nat -n -L DOCKER",
    "iptables-legacy --wait -t nat -N DOCKER",
    "iptables-legacy --wait -t filter -n -L DOCKER",
    "iptables-legacy --wait -t filter -N DOCKER",
    "iptables-legacy --wait -t filter -N DOCKER-ISOLATION-STAGE-1",
    "iptables-legacy --wait -t filter -N DOCKER-ISOLATION-STAGE-2",
    "iptables-legacy --wait -t filter -C DOCKER-ISOLATION-STAGE-1 -j RETURN",
    "iptables-legacy --wait -A DOCKER-ISOLATION-STAGE-1 -j RETURN",
    "iptables-legacy --wait -A DOCKER-ISOLATION-STAGE-2 -j RETURN",
    "iptables-legacy --wait -t nat -C POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    "iptables-legacy --wait -t nat -I POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    "iptables-legacy --wait -t nat -I DOCKER -i docker0 -j RETURN",
    "iptables-legacy --wait -D FORWARD -i docker0 -o docker0 -j DROP",
    "iptables-legacy --wait -t filter -I FORWARD -i docker0 -o docker0 -j ACCEPT",
    "iptables-legacy --wait -t filter -I FORWARD -i docker0 ! -o docker0 -j ACCEPT",
    "iptables-legacy --wait -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "iptables-legacy --wait -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER ! --dst 127.0.0.0/8",
    "iptables-legacy --wait -t filter -I FORWARD -o docker0 -j DOCKER",
    "iptables-legacy --wait -t filter -I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "iptables-legacy --wait -t filter -I FORWARD -j DOCKER-ISOLATION-STAGE-1",
    "iptables-legacy --wait -t filter -I DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2",
    "iptables-legacy --wait -t filter -I DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP",
    "iptables-legacy --wait -P FORWARD DROP",
    "iptables-legacy --wait -t filter -N DOCKER-USER",
    "iptables-legacy --wait -A DOCKER-USER -j RETURN",
    "iptables-legacy --wait -I FORWARD -j DOCKER-USER",
    "iptables-legacy --wait -t nat -A DOCKER -p tcp -d 0/0 --dport 8080 -j DNAT --to-destination 172.17.0.2:80 ! -i docker0",
    "iptables-legacy --wait -t filter -A DOCKER ! -i docker0 -o docker0 -p tcp -d 172.17.0.2 --dport 80 -j ACCEPT",
    "iptables-legacy --wait -t nat -A POSTROUTING -p tcp -s 172.17.0.2 -d 172.17.0.2 --dport 80 -j MASQUERADE",
    "iptables-legacy-save",
    "iptables-legacy --wait -t nat -S DOCKER",
    "iptables-legacy --wait -t filter -D DOCKER ! -i docker0 -o docker0 -p tcp -d 172.17.0.2 --dport 80 -j ACCEPT",
    "iptables-legacy --wait -t nat -D POSTROUTING -p tcp -s 172.17.0.2 -d 172.17.0.2 --dport 80 -j MASQUERADE",
    "iptables-legacy --wait -t nat -L -v -n",
    "iptables-legacy -L -v -n --line-numbers",
];

/// Rules with sets, and texts put onto what is there.
const SETS: &[&str] = &[
    "ipset create hosts hash:ip",
    "ipset create ways hash:net,port",
    "ipset add hosts 192.0.2.1",
    "iptables-legacy -A INPUT -m set --match-set hosts src -j DROP",
    "iptables-legacy -A OUTPUT -m set ! --match-set ways dst,dst -j ACCEPT",
    "iptables-legacy -A INPUT -m set --match-set nosuch src -j DROP",
    "iptables-legacy-save",
    "iptables-legacy -L -v -n",
    "iptables-legacy-restore --noflush DIR/more",
    "iptables-legacy-save",
    "iptables-legacy-restore -n DIR/wrong",
    "iptables-legacy-restore --noflush --test DIR/more",
    "iptables-legacy-save -c",
    "iptables-legacy -D INPUT -m set --match-set hosts src -j DROP",
    "iptables-legacy-save",
];

/// Asks both the same, each in a namespace of its own.
fn compare(dir: &Path, cgroup: &Cgroup, script: &[&str]) -> Result<()> {
    let script = script.iter();
    let script = script.map(|line| line.replace("DIR", &dir.display().to_string()));
    let script: Vec<String> = script.collect();
    let expected = isolated(|| {
        run("ip", "link set lo up")?;
        script
            .iter()
            .map(|line| outcome(&mut native(line)))
            .collect::<Result<Vec<_>>>()
    })?;
    for (line, expected) in script.iter().zip(expected) {
        let mut found = outcome(&mut supervised(cgroup, line))?;
        // Notes about how rules are translated are ours; the rest is the tool's.
        if found.errors.starts_with("warning") {
            found.errors.clear();
        }
        assert_eq!(found, expected, "{line}");
    }
    ensure!(kernel_tables()?.is_empty(), "the kernel has tables");
    Ok(())
}

#[test]
fn iptables_says_the_same_as_with_the_kernel() {
    with_iptables(|dir| {
        let cgroup = Cgroup::new("run")?;
        fs::write(dir.join("many"), many_rules(1000))?;
        let counted = "*filter\n:INPUT ACCEPT [3:300]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [1:2]\n:own - [0:0]\n\
                       [4:400] -A INPUT -p icmp -j own\n[5:500] -A own -m comment --comment \"a b\" -j RETURN\nCOMMIT\n";
        fs::write(dir.join("counted"), counted)?;
        compare(dir, &cgroup, SCRIPT)
    });
}

#[test]
fn the_calls_of_docker_are_answered_as_the_kernel_does() {
    with_iptables(|dir| compare(dir, &Cgroup::new("docker")?, DOCKER));
}

#[test]
fn sets_and_texts_on_top_are_answered_as_the_kernel_does() {
    with_iptables(|dir| {
        let more = "*filter\n-I INPUT 1 -s 192.0.2.9 -j ACCEPT\n:fresh - [0:0]\n\
                    -A fresh -m set --match-set ways src,src -j RETURN\nCOMMIT\n";
        fs::write(dir.join("more"), more)?;
        fs::write(
            dir.join("wrong"),
            "*filter\n-A INPUT -s 192.0.2.9 -j nosuch\nCOMMIT\n",
        )?;
        compare(dir, &Cgroup::new("tops")?, SETS)
    });
}

#[test]
fn a_daemon_that_calls_iptables_is_answered() {
    with_iptables(|_| {
        let cgroup = Cgroup::new("daemon")?;
        // Children in the background, each with children of its own, while another client works.
        let mut daemon = supervised(&cgroup, "sh -c");
        daemon.arg(
            "for i in 1 2 3 4; do (iptables-legacy -w -A INPUT -p udp --dport $i -j DROP; iptables-legacy -w -S INPUT >/dev/null) & done; wait",
        );
        let mut daemon = daemon.spawn()?;
        for port in 11..=14 {
            let words = format!("iptables-legacy -w -A INPUT -p udp --dport {port} -j DROP");
            let found = outcome(&mut supervised(&cgroup, &words))?;
            ensure!(found.status == Some(0), "{found:?}");
        }
        ensure!(daemon.wait()?.success(), "the daemon failed");
        let saved = outcome(&mut supervised(&cgroup, "iptables-legacy-save"))?.output;
        ensure!(saved.matches("--dport").count() == 8, "{saved}");
        Ok(())
    });
}

#[test]
fn traffic_obeys_and_is_counted() {
    with_iptables(|_| {
        let cgroup = Cgroup::new("obey")?;
        let _listeners = cgroup.inside(|| listen(&["127.0.0.1"], &[2201, 2202]))??;
        let iptables = |words: &str| -> Result<String> {
            let Outcome {
                status,
                output,
                errors,
            } = outcome(&mut supervised(&cgroup, words))?;
            ensure!(status == Some(0), "{words}: {status:?}: {errors}");
            Ok(output)
        };
        assert!(connects("127.0.0.1", 2201));
        iptables("iptables-legacy -A INPUT -p tcp --dport 2201 -j DROP")?;
        iptables("iptables-legacy -A INPUT -p tcp --dport 2202 -j ACCEPT")?;
        assert!(!connects("127.0.0.1", 2201));
        assert!(connects("127.0.0.1", 2202));
        let counted = |port: u16| -> Result<u64> {
            let list = iptables("iptables-legacy -L INPUT -v -n -x")?;
            let line = list
                .lines()
                .find(|line| line.contains(&format!("dpt:{port}")));
            let line = line.context("the rule is not listed")?;
            Ok(line
                .split_whitespace()
                .next()
                .context("no counter")?
                .parse()?)
        };
        assert!(counted(2201)? >= 1);
        let before = counted(2202)?;
        assert!(before >= 2, "{before}");
        // Counters go on when the table is replaced.
        iptables("iptables-legacy -I INPUT -p udp -j DROP")?;
        assert_eq!(counted(2202)?, before);
        assert!(connects("127.0.0.1", 2202));
        assert!(counted(2202)? > before);
        // Reading with -Z gives the counters and sets them to zero.
        iptables("iptables-legacy -Z")?;
        assert_eq!(counted(2202)?, 0);
        iptables("iptables-legacy -D INPUT -p tcp --dport 2201 -j DROP")?;
        assert!(connects("127.0.0.1", 2201));
        ensure!(kernel_tables()?.is_empty(), "the kernel has tables");
        Ok(())
    });
}

#[test]
fn limits_lists_sets_and_choices_go_on_when_a_table_is_replaced() {
    with_iptables(|dir| {
        let cgroup = Cgroup::new("goon")?;
        let syn = "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN --dport";
        let rules = dir.join("rules");
        let text = format!(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
             -A INPUT -p icmp -j DROP\n\
             {syn} 2203 -m limit --limit 1/hour --limit-burst 2 -j ACCEPT\n\
             {syn} 2203 -j DROP\n\
             {syn} 2204 -m recent --update --name seen -j DROP\n\
             {syn} 2204 -m recent --set --name seen\n\
             {syn} 2205 -m set --match-set again src -j DROP\n\
             {syn} 2205 -j SET --add-set again src\n\
             {syn} 2205 -j ACCEPT\n\
             -A INPUT -p tcp --dport 2206 -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
        );
        fs::write(&rules, text)?;
        run("ipset", "create again hash:ip")?;
        let place = format!("--cgroup {}", cgroup.name());
        ipt2bpf(&format!(
            "attach --connections 2048 {place} {}",
            rules.display()
        ))?;
        let _listeners = cgroup.inside(|| listen(&["127.0.0.1"], &[2203, 2204, 2205, 2206]))??;
        let _connection = TcpStream::connect("127.0.0.1:2206")?;
        let ports = [2203, 2204, 2205];
        assert_eq!(ports.map(|port| connects("127.0.0.1", port)), [true; 3]);
        // Of the connections that it remembers, by the port of one.
        let remembered = || ipt2bpf("conntrack -L").map(|list| list.contains("dport=2206"));
        assert!(remembered()?, "a connection is remembered");
        // The rules change their numbers, and the table with them is replaced, and then another.
        let iptables = |words: &str| -> Result<()> {
            let found = outcome(&mut supervised(&cgroup, words))?;
            ensure!(found.status == Some(0), "{words}: {found:?}");
            Ok(())
        };
        iptables("iptables-legacy -D INPUT 1")?;
        assert!(remembered()?, "it was forgotten");
        assert_eq!(
            ports.map(|port| connects("127.0.0.1", port)),
            [true, false, false]
        );
        iptables("iptables-legacy -I INPUT -p udp -m limit --limit 1/s -j DROP")?;
        iptables("iptables-legacy -t mangle -A INPUT -p udp -m quota --quota 1000 -j DROP")?;
        assert_eq!(ports.map(|port| connects("127.0.0.1", port)), [false; 3]);
        // And replace goes on from there.
        ipt2bpf(&format!(
            "replace --connections 2048 {place} {}",
            rules.display()
        ))?;
        assert_eq!(ports.map(|port| connects("127.0.0.1", port)), [false; 3]);
        Ok(())
    });
}

#[test]
fn what_cannot_be_translated_is_refused_and_changes_nothing() {
    with_iptables(|_| {
        let cgroup = Cgroup::new("refuse")?;
        let first = outcome(&mut supervised(
            &cgroup,
            "iptables-legacy -A INPUT -p udp -j DROP",
        ))?;
        assert_eq!(first.status, Some(0), "{first:?}");
        let rule = "iptables-legacy -A INPUT -p tcp -m osf --genre Linux -j DROP";
        let refused = outcome(&mut supervised(&cgroup, rule))?;
        assert_ne!(refused.status, Some(0), "{refused:?}");
        assert!(refused.errors.contains("-m osf"), "{refused:?}");
        assert!(refused.errors.contains("not supported"), "{refused:?}");
        let saved = outcome(&mut supervised(&cgroup, "iptables-legacy-save"))?;
        assert!(
            saved.output.contains("-A INPUT -p udp -j DROP"),
            "{saved:?}"
        );
        assert!(!saved.output.contains("osf"), "{saved:?}");
        Ok(())
    });
}

#[test]
fn the_status_of_the_command_is_ours() {
    with_iptables(|_| {
        let cgroup = Cgroup::new("status")?;
        let status =
            |words: &str| Ok::<_, anyhow::Error>(outcome(&mut supervised(&cgroup, words))?.status);
        assert_eq!(status("true")?, Some(0));
        assert_eq!(status("false")?, Some(1));
        assert_eq!(status("nonesuch-command")?, Some(1));
        let mut killed = supervised(&cgroup, "sh -c");
        killed.arg("kill -9 $$");
        assert_eq!(outcome(&mut killed)?.status, Some(137));
        Ok(())
    });
}

#[test]
fn other_namespaces_and_users_without_rights_do_not_change_it() {
    with_iptables(|_| {
        let cgroup = Cgroup::new("foreign")?;
        let mut foreign = supervised(&cgroup, "unshare -n sh -c");
        foreign.arg("iptables-legacy -A INPUT -p udp -j DROP && cat /proc/net/ip_tables_names && iptables-legacy-save");
        let foreign = outcome(&mut foreign)?;
        // That is the kernel's own table, which is gone with its namespace.
        assert_eq!(foreign.status, Some(0), "{foreign:?}");
        assert!(foreign.output.starts_with("filter\n"), "{foreign:?}");
        assert!(
            foreign.output.contains("-A INPUT -p udp -j DROP"),
            "{foreign:?}"
        );
        let saved = outcome(&mut supervised(&cgroup, "iptables-legacy-save"))?;
        assert_eq!(saved.output, "");
        let mut weak = supervised(
            &cgroup,
            "setpriv --bounding-set -net_admin --inh-caps -net_admin sh -c",
        );
        weak.arg("iptables-legacy -A INPUT -p udp -j DROP");
        let weak = outcome(&mut weak)?;
        assert_ne!(weak.status, Some(0), "{weak:?}");
        assert!(weak.errors.contains("Permission denied"), "{weak:?}");
        assert_eq!(
            outcome(&mut supervised(&cgroup, "iptables-legacy-save"))?.output,
            ""
        );
        Ok(())
    });
}

#[test]
fn without_its_supervisor_a_command_fails() {
    with_iptables(|_| {
        let cgroup = Cgroup::new("orphan")?;
        // The shell outlives its supervisor, which it kills.
        let mut orphan = supervised(&cgroup, "sh -c");
        orphan.arg("kill -9 $PPID; iptables-legacy -A INPUT -p udp -j DROP; echo status $? >&2");
        let orphan = outcome(&mut orphan)?;
        // Its last words come after the end of the supervisor, and before that of its standard error.
        assert!(orphan.errors.contains("status"), "{orphan:?}");
        assert!(!orphan.errors.contains("status 0"), "{orphan:?}");
        ensure!(kernel_tables()?.is_empty(), "the kernel has tables");
        Ok(())
    });
}

#[test]
fn commands_at_once_lose_no_rule() {
    with_iptables(|_| {
        let cgroup = Cgroup::new("atonce")?;
        let ports: Vec<u16> = (1..=8).collect();
        let children: Vec<_> = ports
            .iter()
            .map(|port| {
                let words = format!("iptables-legacy -w -A INPUT -p tcp --dport {port} -j DROP");
                supervised(&cgroup, &words).spawn()
            })
            .collect::<Result<_, _>>()?;
        for mut child in children {
            assert!(child.wait()?.success());
        }
        let saved = outcome(&mut supervised(&cgroup, "iptables-legacy-save"))?.output;
        for port in ports {
            assert!(
                saved.contains(&format!("--dport {port} -j DROP")),
                "{saved}"
            );
        }
        Ok(())
    });
}

/// Passes memory whose pages never come (userfaultfd(2)), then its own.
const STALLER: &str = "
import ctypes, fcntl, mmap, os, platform, socket, struct, time
libc = ctypes.CDLL(None, use_errno=True)
number = {'x86_64': 323, 'aarch64': 282}[platform.machine()]
faults = libc.syscall(number, os.O_CLOEXEC)
assert faults >= 0, os.strerror(ctypes.get_errno())
fcntl.ioctl(faults, 0xc018aa3f, struct.pack('QQQ', 0xaa, 0, 0))  # UFFDIO_API
memory = mmap.mmap(-1, 8192, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
# UFFDIO_REGISTER, UFFDIO_REGISTER_MODE_MISSING
fcntl.ioctl(faults, 0xc020aa00, struct.pack('QQQQ', address, 8192, 1, 0))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)

start = time.time()
failed = libc.setsockopt(raw.fileno(), 0, 64, ctypes.c_void_p(address), 4096)
print('held up', failed, ctypes.get_errno())
info = ctypes.create_string_buffer(b'filter', 84)
failed = libc.getsockopt(raw.fileno(), 0, 64, info, ctypes.byref(ctypes.c_uint32(84)))
print('good', failed, time.time() - start < 4)
";

#[test]
fn pages_that_never_come_are_an_error_at_once() {
    with_iptables(|_| {
        let cgroup = Cgroup::new("stall")?;
        let mut staller = supervised(&cgroup, "python3 -c");
        staller.arg(STALLER);
        let found = outcome(&mut staller)?;
        // EFAULT is 14.
        assert_eq!(found.output, "held up -1 14\ngood 0 True\n", "{found:?}");
        Ok(())
    });
}
