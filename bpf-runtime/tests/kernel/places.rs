//! Places to pin and to attach, gone with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether this process may load programs; says so when not.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A BPF file system of its own, unmounted with the value.
pub struct BpfFs(tempfile::TempDir);

impl BpfFs {
    pub fn mount() -> BpfFs {
        let dir = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("bpf"), dir.path(), Some("bpf"), flags, None::<&str>).unwrap();
        BpfFs(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        nix::mount::umount2(self.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

/// A cgroup of its own, removed with the value.
pub struct TestCgroup(PathBuf);

impl TestCgroup {
    pub fn create() -> TestCgroup {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts
            .lines()
            .find(|line| line.contains(" - cgroup2 "))
            .and_then(|line| line.split(' ').nth(4))
            .expect("a cgroup v2 hierarchy is mounted");
        let name = format!(
            "ipt2bpf-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = Path::new(root).join(name);
        fs::create_dir(&path).unwrap();
        TestCgroup(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a process in this cgroup, in a network namespace of its own, can send a packet.
    pub fn can_send(&self) -> bool {
        let status = self.spawn_sender(1).wait().unwrap();
        match status.code() {
            Some(0) => true,
            Some(1) => false,
            _ => panic!("the sender could not try: {status}"),
        }
    }

    /// A process in this cgroup, in a network namespace of its own, that tries to send a packet this
    /// many times and succeeds as soon as one goes out.
    pub fn spawn_sender(&self, tries: u32) -> Child {
        let script = "ip link set lo up && echo $$ > \"$0\"/cgroup.procs || exit 2
                      for ((i = 0; i < $1; i++)); do
                          echo hello > /dev/udp/127.0.0.1/9 && exit 0
                      done 2>/dev/null
                      exit 1";
        Command::new("unshare")
            .args(["--net", "bash", "-c", script])
            .arg(&self.0)
            .arg(tries.to_string())
            .spawn()
            .unwrap()
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        // A test may have removed it.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Moves the calling thread, which is the test's own, to a new network namespace with the two ends of
/// a cable, `left` (192.0.2.1/24) and `right`.
pub fn enter_netns_with_cable() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    for arguments in [
        "link add left type veth peer name right",
        "address add 192.0.2.1/24 dev left",
        "link set left up",
        "link set right up",
    ] {
        let status = Command::new("ip")
            .args(arguments.split(' '))
            .status()
            .unwrap();
        assert!(status.success(), "ip {arguments}");
    }
}
