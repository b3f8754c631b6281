//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ipt2bpf_codegen::module::Hook;
use thiserror::Error;

use crate::dispatcher;
use crate::others::Neighbour;

/// Why something could not be loaded, attached or read.
#[derive(Debug, Error)]
pub enum Error {
    /// The bytes are no object that the compiler makes.
    #[error("not an object made by ipt2bpf: {reason}")]
    Object {
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel refused.
    #[error("the kernel refused to {step}: {source}{}{}", Advice(.step, .source), Log(.log))]
    Refused {
        /// What was asked of it.
        step: Step,
        /// Its answer.
        source: io::Error,
        /// The end of the verifier's log; empty when it wrote none.
        log: String,
    },
    /// There is no BPF file system to pin in.
    #[error(
        "no BPF file system is mounted; mount one with `mount -t bpf bpf /sys/fs/bpf` or name one"
    )]
    NoBpffs,
    /// No cgroup v2 hierarchy is mounted.
    #[error(
        "no cgroup v2 hierarchy is mounted; mount one with `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    NoCgroups,
    /// The place for pins is on another kind of file system.
    #[error(
        "{} is not on a BPF file system, and only there can BPF objects be pinned; \
         choose a place under /sys/fs/bpf",
        path.display()
    )]
    NotBpffs {
        /// The place.
        path: PathBuf,
    },
    /// The place of a pin is taken.
    #[error(
        "{} exists and was not made by ipt2bpf; remove it or choose another place",
        path.display()
    )]
    NotOurs {
        /// What is there.
        path: PathBuf,
    },
    /// No interface has this name in the current network namespace.
    #[error("there is no network interface {name}")]
    NoInterface {
        /// The name.
        name: String,
    },
    /// An interface runs one XDP program, and it is another's.
    #[error(
        "{interface} already runs an XDP program that ipt2bpf did not attach: id {}{}; {}",
        program.id, Named(&program.name), way_out(program, interface)
    )]
    OtherXdp {
        /// The interface.
        interface: String,
        /// The program there.
        program: Neighbour,
    },
    /// The dispatcher of an interface calls no more programs.
    #[error(
        "the dispatcher of interface {index} calls ten programs already, and cannot call more; \
         `xdp-loader status` lists them, and `xdp-loader unload` removes one"
    )]
    DispatcherFull {
        /// The index of the interface.
        index: u32,
    },
    /// Programs can be attached to directories of the cgroup v2 hierarchy only.
    #[error("{} is not a cgroup v2 directory", path.display())]
    NotCgroup {
        /// What was given instead.
        path: PathBuf,
    },
    /// The object holds no program for the hook.
    #[error("the object holds no program for {hook}; compile with `--hook {hook}`")]
    NoProgram {
        /// The hook.
        hook: Hook,
    },
    /// The object does not have a map, or has it in another shape.
    #[error("the object has no map `{name}` as ipt2bpf makes it")]
    NoMap {
        /// The name of the map.
        name: &'static str,
    },
    /// There are more values than the map holds.
    #[error("{wanted} values do not fit into the map `{name}` of {room}")]
    MapTooSmall {
        /// The name of the map.
        name: &'static str,
        /// How many values there are.
        wanted: usize,
        /// How many it holds.
        room: u32,
    },
    /// There are more elements than a set takes.
    #[error("the set {name} is full: it takes {room} elements (its `maxelem`)")]
    SetFull {
        /// Its name.
        name: String,
        /// How many it takes.
        room: u32,
    },
    /// A file could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether the kernel said no to what was right in form, as opposed to a wrong request.
    pub fn kernel_refused(&self) -> bool {
        matches!(
            self,
            Error::Refused { .. }
                | Error::OtherXdp { .. }
                | Error::DispatcherFull { .. }
                | Error::NoBpffs
                | Error::NoCgroups
        )
    }

    /// For `map_err`: the kernel refused a step and left no log.
    pub(crate) fn refused(step: Step) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Refused {
            step,
            source,
            log: String::new(),
        }
    }

    /// For `map_err`: a file could not be used.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn object(reason: impl fmt::Display) -> Error {
        Error::Object {
            reason: reason.to_string(),
        }
    }
}

/// What was asked of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To take the type information of an object.
    LoadBtf,
    /// To create a map.
    CreateMap(String),
    /// To read a map.
    ReadMap(String),
    /// To write to a map.
    WriteMap(String),
    /// To verify and load a program.
    LoadProgram(Hook),
    /// To verify and load a program that another is to call, or the one that calls it.
    LoadDispatched,
    /// To tie a map to a program.
    BindMap(String),
    /// To describe or hand out an object.
    Inspect,
    /// To tell when the network changes.
    ListenToNetwork,
    /// To run a program on a test packet.
    TestRun(Hook),
    /// To pin an object.
    Pin(PathBuf),
    /// To open a pin.
    OpenPin(PathBuf),
    /// To load or attach the program that hands the kernel's connections over.
    HandOver,
    /// To attach a program.
    Attach(Hook),
    /// To put a program in the place of another.
    Replace(Hook),
    /// To detach a program.
    Detach(Hook),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::LoadBtf => f.write_str("load the type information"),
            Step::CreateMap(name) => write!(f, "create the map `{name}`"),
            Step::ReadMap(name) => write!(f, "read the map `{name}`"),
            Step::WriteMap(name) => write!(f, "write to the map `{name}`"),
            Step::LoadProgram(hook) => write!(f, "load the {hook} program"),
            Step::LoadDispatched => f.write_str("load an xdp program for a dispatcher"),
            Step::BindMap(name) => write!(f, "bind the map `{name}` to a program"),
            Step::Inspect => f.write_str("describe a BPF object"),
            Step::ListenToNetwork => f.write_str("tell when the network changes"),
            Step::TestRun(hook) => write!(f, "test the {hook} program"),
            Step::Pin(path) => write!(f, "pin {}", path.display()),
            Step::OpenPin(path) => write!(f, "open {}", path.display()),
            Step::HandOver => f.write_str("have the kernel's connections handed over"),
            Step::Attach(hook) => write!(f, "attach the {hook} program"),
            Step::Replace(hook) => write!(f, "replace the {hook} program"),
            Step::Detach(hook) => write!(f, "detach the {hook} program"),
        }
    }
}

/// A way out, for the answers that have one.
struct Advice<'a>(&'a Step, &'a io::Error);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Advice(step, error) = self;
        let advice = match (error.raw_os_error().unwrap_or(0), step) {
            (libc::EPERM, Step::LoadDispatched) => {
                "this needs root, and a kernel that is not locked down: it replaces functions of programs"
            }
            (libc::EPERM, Step::Inspect) => "this needs root, or the capability CAP_SYS_ADMIN",
            (libc::EPERM, _) => {
                "this needs root, or the capabilities CAP_BPF and CAP_NET_ADMIN; \
                 before Linux 5.11 it can also mean that `ulimit -l` is too low"
            }
            (libc::ENOSYS, _) => "this kernel is built without BPF (CONFIG_BPF_SYSCALL)",
            (libc::ENOMEM, _) => "there is not enough memory, or the cgroup's limit is too low",
            (libc::E2BIG, Step::LoadProgram(_)) => {
                "the program is larger than the verifier accepts; split the ruleset by `--hook`"
            }
            (libc::EINVAL | libc::EACCES, Step::LoadProgram(_)) => {
                "the verifier rejected the program; this is a fault in ipt2bpf or an old kernel \
                 (5.10 is the oldest supported)"
            }
            (libc::EINVAL, Step::HandOver) => {
                "this takes Linux 6.4 with CONFIG_NETFILTER_BPF_LINK; --conntrack own does without"
            }
            (libc::EOPNOTSUPP, Step::Attach(Hook::Xdp)) => {
                "its driver runs no XDP programs; `--xdp-mode skb` runs them in the stack"
            }
            (libc::EINVAL, Step::BindMap(_) | Step::Attach(_) | Step::Detach(_)) => {
                "this kernel may be too old (5.10 is the oldest supported)"
            }
            _ => return Ok(()),
        };
        write!(f, "\n{advice}")
    }
}

/// A program's name, when it has one.
struct Named<'a>(&'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            name => write!(f, " ({name})"),
        }
    }
}

/// How to make room at an interface.
fn way_out(program: &Neighbour, interface: &str) -> String {
    match program.name.as_str() {
        dispatcher::PROGRAM_NAME => format!(
            "it is a dispatcher of libxdp of a version that is not known, or without its pins, and \
             `xdp-loader unload {interface} --all` removes it with what it calls"
        ),
        name if name == Hook::Xdp.program_name() => format!(
            "it was attached below another BPF file system; `bpftool link` lists the links of programs, \
             and `bpftool link detach id LINK` or `ip link set dev {interface} xdp off` removes it"
        ),
        _ => format!(
            "`ip link set dev {interface} xdp off` removes it, or, where a link holds it \
             (`bpftool link` lists them), `bpftool link detach id LINK`; one that `xdp-loader load` loads shares \
             the interface with others"
        ),
    }
}

/// The verifier's log, when there is one.
struct Log<'a>(&'a str);

impl fmt::Display for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "\nthe verifier's log ends with:\n{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(step: Step, errno: i32) -> String {
        Error::refused(step)(io::Error::from_raw_os_error(errno)).to_string()
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert_eq!(
            refused(Step::LoadProgram(Hook::Xdp), libc::E2BIG),
            "the kernel refused to load the xdp program: Argument list too long (os error 7)\n\
             the program is larger than the verifier accepts; split the ruleset by `--hook`"
        );
        assert_eq!(
            refused(Step::CreateMap("counters".to_owned()), libc::EPERM),
            "the kernel refused to create the map `counters`: Operation not permitted (os error 1)\n\
             this needs root, or the capabilities CAP_BPF and CAP_NET_ADMIN; \
             before Linux 5.11 it can also mean that `ulimit -l` is too low"
        );
        assert_eq!(
            refused(Step::ReadMap("rules".to_owned()), libc::EIO),
            "the kernel refused to read the map `rules`: Input/output error (os error 5)"
        );
    }

    #[test]
    fn the_log_stands_below_the_advice() {
        let error = Error::Refused {
            step: Step::LoadProgram(Hook::CgroupEgress),
            source: io::Error::from_raw_os_error(libc::EACCES),
            log: "R7 !read_ok".to_owned(),
        };
        assert!(error.kernel_refused());
        let text = error.to_string();
        assert!(
            text.ends_with("supported)\nthe verifier's log ends with:\nR7 !read_ok"),
            "{text}"
        );
    }
}
