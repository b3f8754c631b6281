//! Attaching programs so that they stay, replacing and finding them again.
//!
//! Every attachment is a BPF link, pinned below a root on a BPF file system:
//! ```text
//! ROOT/cgroup/CGROUP_ID/ipt2bpf_ingress        one link for each hook, by Hook::program_name
//! ROOT/cgroup/CGROUP_ID/ipt2bpf_egress
//! ROOT/cgroup/CGROUP_ID/ipt2bpf_hand4          what hands the kernel's connections over to the first, if it asks;
//! ROOT/cgroup/CGROUP_ID/ipt2bpf_hand6          in the network namespace of whoever attached it
//! ROOT/xdp/NETNS_IFINDEX/ipt2bpf_xdp           inode number of the network namespace, interface index
//! ROOT/xdp/NETNS_IFINDEX/ipt2bpf_egress        the companion of the XDP program, if it has one
//! ```
//! A companion tracks for an XDP program the connections of what the host sends. It is attached to the root
//! cgroup once, and pinned beside each program that it serves; it goes with the last of them.
//!
//! There is nothing else to keep: the link holds its program, the program its maps. Where libxdp's dispatcher calls
//! the XDP program, the program is pinned in the place of its link ([`dispatcher`](crate::dispatcher)).
//!
//! # Sudden ends
//! A process may be killed between any two steps. No step takes a filter away from a hook that is to keep
//! one, and what is left of the others [`Registry::sweep`] removes, with which attaching begins: a pin that
//! was to replace another, a companion without its program, a link whose place is gone, an empty directory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ipt2bpf_codegen::module::Hook;

use crate::bpffs::{self, file_name};
use crate::cgroup::{self, Cgroup};
use crate::devices;
use crate::dispatcher::Dispatchers;
use crate::error::{Error, Step};
use crate::hand_over;
use crate::load::{Loaded, kernel_types};
use crate::maps::Maps;
use crate::others::{XDP_GENERIC, XDP_NATIVE, xdp_program};
use crate::sys::{Link, LinkPlace, Object, Program};

/// Our directory in a BPF file system.
const ROOT_NAME: &str = "ipt2bpf";
const CGROUP_DIR: &str = "cgroup";
const XDP_DIR: &str = "xdp";

/// The network namespace of the calling thread.
const NETNS: &str = "/proc/thread-self/ns/net";

/// What is attached, as told by the pins below one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    root: PathBuf,
}

/// Where a program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// A cgroup.
    Cgroup {
        /// Its id.
        id: u64,
        /// Its directory, unless it was removed or is not visible from here.
        path: Option<PathBuf>,
    },
    /// A network interface.
    Interface {
        /// The inode number of its network namespace (`stat -L /proc/PID/ns/net`).
        netns: u64,
        /// Its index there.
        index: u32,
        /// Its name, if it is in the network namespace of the calling thread.
        name: Option<String>,
    },
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Site::Cgroup {
                path: Some(path), ..
            } => write!(f, "{}", path.display()),
            Site::Cgroup { id, path: None } => write!(f, "cgroup {id}"),
            Site::Interface {
                name: Some(name), ..
            } => f.write_str(name),
            Site::Interface {
                netns,
                index,
                name: None,
            } => write!(f, "interface {index} of network namespace {netns}"),
        }
    }
}

/// One program at one hook of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The place.
    pub site: Site,
    /// The hook.
    pub hook: Hook,
    /// The id of the link.
    pub link_id: u32,
    /// The id of the program that runs there now.
    pub program_id: u32,
    /// Whether the program still runs: false once the cgroup or the interface was removed.
    pub alive: bool,
    /// The pin of the link.
    pub pin: PathBuf,
}

/// How an XDP program is to run at interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpWish {
    /// In the driver where it can, else in the stack.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the stack.
    Generic,
    /// Called by a dispatcher of libxdp, also where there is none yet.
    Dispatched,
}

/// How an XDP program runs at an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In the stack, slower, as it was to be.
    Generic,
    /// In the stack because the driver refused.
    Refused {
        /// The driver's answer.
        reason: String,
    },
    /// As the program that it replaces.
    Kept,
    /// Called by a dispatcher of libxdp, which others may share.
    Dispatched,
}

impl Registry {
    /// The root at its usual place: `ipt2bpf` in /sys/fs/bpf, or in the first BPF file system.
    ///
    /// # Errors
    /// [`Error::NoBpffs`].
    pub fn find() -> Result<Registry, Error> {
        Ok(Registry::at(bpffs::mount_point()?.join(ROOT_NAME)))
    }

    /// A root of one's own, which must be on a BPF file system by the time something is attached.
    pub fn at(root: impl Into<PathBuf>) -> Registry {
        Registry { root: root.into() }
    }

    /// The directory of the pins.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Attaches the cgroup_skb programs of an object to a cgroup v2 directory, beside whatever others
    /// have attached there. What this registry has attached to the same hooks before is replaced
    /// without a gap; a hook that the object has no program for keeps what it has. Either all programs
    /// are attached or, after an error, none.
    ///
    /// # Errors
    /// [`Error::NotCgroup`], [`Error::NoProgram`], [`Error::NoBpffs`], [`Error::Refused`].
    pub fn attach_cgroup(&self, loaded: &Loaded, path: &Path) -> Result<(), Error> {
        let cgroup = Cgroup::open(path)?;
        let hooks: Vec<Hook> = loaded.hooks().filter(|&hook| hook != Hook::Xdp).collect();
        if hooks.is_empty() {
            return Err(Error::NoProgram {
                hook: Hook::CgroupIngress,
            });
        }
        self.sweep()?;
        let dir = self.root.join(CGROUP_DIR).join(cgroup.id.to_string());
        let mut changes = Changes::below(&self.root);
        // First, because rules that ask for connections drop what nobody hands over.
        for (link, pin) in hand_over::links(loaded, &dir)? {
            changes.make_dir(&dir)?;
            changes.pin_beside(&link, pin)?;
        }
        for hook in hooks {
            let program = loaded.program(hook)?;
            changes.put(program, hook, LinkPlace::Cgroup(cgroup.id), &dir, || {
                Link::cgroup(program, &cgroup.dir, kernel_types(hook).1)
            })?;
        }
        changes.keep();
        let replaced = loaded.hooks().any(|hook| hook == Hook::CgroupIngress);
        match replaced && !hand_over::is_needed(loaded) {
            true => hand_over::remove(&dir),
            false => Ok(()),
        }
    }

    /// Attaches the XDP program of an object to interfaces of the network namespace of the calling
    /// thread. What this registry has attached there before is replaced without a gap, and runs where it
    /// did. Where a dispatcher of libxdp runs, it calls the program beside those of others. Either all
    /// interfaces get the program or, after an error, none. Returns the mode for each interface.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::NoProgram`], [`Error::NoBpffs`], [`Error::Refused`];
    /// [`Error::OtherXdp`] when someone else's XDP program runs at an interface, and is no dispatcher;
    /// [`Error::DispatcherFull`].
    pub fn attach_xdp(
        &self,
        loaded: &Loaded,
        interfaces: &[&str],
        wish: XdpWish,
    ) -> Result<Vec<XdpMode>, Error> {
        self.attach_xdp_beside(loaded, interfaces, wish, None)
    }

    /// As [`Registry::attach_xdp`], with the object's program for `cgroup_skb/egress` at the root cgroup,
    /// for as long as the XDP program runs somewhere.
    ///
    /// # Errors
    /// As [`Registry::attach_xdp`], and [`Error::NoProgram`] without such a program.
    pub fn attach_xdp_with_companion(
        &self,
        loaded: &Loaded,
        interfaces: &[&str],
        wish: XdpWish,
    ) -> Result<Vec<XdpMode>, Error> {
        let program = loaded.program(Hook::CgroupEgress)?;
        self.attach_xdp_beside(loaded, interfaces, wish, Some(program))
    }

    fn attach_xdp_beside(
        &self,
        loaded: &Loaded,
        interfaces: &[&str],
        wish: XdpWish,
        companion: Option<&Program>,
    ) -> Result<Vec<XdpMode>, Error> {
        let program = loaded.program(Hook::Xdp)?;
        let netns = current_netns()?;
        let places = interfaces
            .iter()
            .map(|name| {
                let index = devices::interface(name)?.index;
                let dir = self.root.join(XDP_DIR).join(format!("{netns}_{index}"));
                Ok((index, dir))
            })
            .collect::<Result<Vec<(u32, PathBuf)>, Error>>()?;
        self.sweep()?;
        let mut changes = Changes::below(&self.root);
        // First, because rules that ask for connections drop answers as long as nobody tracks questions.
        if let Some(companion) = companion {
            let dirs: Vec<&Path> = places.iter().map(|(_, dir)| dir.as_path()).collect();
            self.put_companion(companion, &dirs, &mut changes)?;
        }
        let mut modes = Vec::with_capacity(places.len());
        let mut extension = None;
        for (index, dir) in &places {
            let dispatchers = Dispatchers::of(*index, dir, &self.root);
            if is_dispatched(&dispatchers, dir, loaded, wish)? {
                let program = match &extension {
                    Some(program) => program,
                    None => extension.insert(loaded.extension()?),
                };
                let is_first = changes
                    .put_dispatched(dispatchers, program, dir)
                    .map_err(|error| told_of_other(error, *index))?;
                modes.push(match is_first {
                    true => XdpMode::Dispatched,
                    false => XdpMode::Kept,
                });
                continue;
            }
            let mut mode = XdpMode::Kept;
            changes
                .put(program, Hook::Xdp, LinkPlace::Xdp(*index), dir, || {
                    let (link, chosen) = attach_xdp_link(program, *index, wish)?;
                    mode = chosen;
                    Ok(link)
                })
                .map_err(|error| told_of_other(error, *index))?;
            modes.push(mode);
        }
        if companion.is_none() {
            for (_, dir) in &places {
                bpffs::remove(&companion_pin(dir))?;
            }
        }
        changes.keep();
        Ok(modes)
    }

    /// Has one companion serve the programs of some directories: one that serves them already, if it serves
    /// no others that have connections of their own, else a new one.
    fn put_companion(
        &self,
        program: &Program,
        dirs: &[&Path],
        changes: &mut Changes,
    ) -> Result<(), Error> {
        let mut known = Vec::new();
        for dir in bpffs::entries(&self.root.join(XDP_DIR))? {
            if let Some(Object::Link(link)) = bpffs::open(&companion_pin(&dir))? {
                known.push((dir, link));
            }
        }
        let serves_ours = |id: u32| {
            known
                .iter()
                .any(|(dir, link)| link.id == id && dirs.contains(&dir.as_path()))
        };
        let serves_others = |id: u32| {
            known
                .iter()
                .any(|(dir, link)| link.id == id && !dirs.contains(&dir.as_path()))
        };
        let position = known
            .iter()
            .position(|(_, link)| serves_ours(link.id) && !serves_others(link.id));
        let link = match position {
            Some(position) => {
                let (_, link) = known.swap_remove(position);
                changes.replace(&link, program, Hook::CgroupEgress)?;
                link
            }
            None => {
                let root = Cgroup::root()?;
                Link::cgroup(program, &root.dir, kernel_types(Hook::CgroupEgress).1)
                    .map_err(Error::refused(Step::Attach(Hook::CgroupEgress)))?
            }
        };
        for dir in dirs {
            changes.make_dir(dir)?;
            changes.pin_beside(&link, companion_pin(dir))?;
        }
        Ok(())
    }

    /// Removes what a process that was killed has left, and links whose place is gone. What filters
    /// something stays.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Io`].
    pub fn sweep(&self) -> Result<(), Error> {
        for dir in bpffs::entries(&self.root.join(CGROUP_DIR))? {
            sweep_dir(&dir)?;
            for pin in hand_over::pins(&dir) {
                bpffs::remove(&bpffs::unnamed(&pin))?;
            }
            if bpffs::open(&dir.join(Hook::CgroupIngress.program_name()))?.is_none() {
                hand_over::remove(&dir)?;
            }
            remove_empty(&self.root, &dir);
        }
        let here = current_netns()?;
        for dir in bpffs::entries(&self.root.join(XDP_DIR))? {
            // Elsewhere nobody tells which program an interface has.
            match place_of(&dir) {
                Some((netns, index)) if netns == here => {
                    Dispatchers::of(index, &dir, &self.root).sweep()?;
                }
                _ => {}
            }
            sweep_dir(&dir)?;
            if bpffs::open(&dir.join(Hook::Xdp.program_name()))?.is_none() {
                bpffs::remove(&companion_pin(&dir))?;
            }
            remove_empty(&self.root, &dir);
        }
        for kind in [CGROUP_DIR, XDP_DIR] {
            remove_empty(&self.root, &self.root.join(kind));
        }
        remove_empty(&self.root, &self.root);
        Ok(())
    }

    /// Everything that this registry has attached, in the order of the pins. Files below the root that
    /// are none of our pins are passed over.
    ///
    /// # Errors
    /// [`Error::Refused`] when a pin cannot be opened, [`Error::Io`].
    pub fn list(&self) -> Result<Vec<Attachment>, Error> {
        let mut attachments = Vec::new();
        let cgroups = bpffs::entries(&self.root.join(CGROUP_DIR))?;
        if !cgroups.is_empty() {
            let mut directories = cgroup::directories()?;
            for dir in cgroups {
                let Some(id) = file_name(&dir).parse().ok() else {
                    continue;
                };
                let path = directories.remove(&id);
                attachments_in(&dir, &Site::Cgroup { id, path }, &mut attachments)?;
            }
        }
        let here = current_netns()?;
        for dir in bpffs::entries(&self.root.join(XDP_DIR))? {
            let Some((netns, index)) = place_of(&dir) else {
                continue;
            };
            let name = (netns == here).then(|| devices::name_of(index)).flatten();
            let site = Site::Interface { netns, index, name };
            attachments_in(&dir, &site, &mut attachments)?;
            let dispatchers = Dispatchers::of(index, &dir, &self.root);
            attachments.extend(dispatched(&dispatchers, site, &dir, netns == here)?);
        }
        Ok(attachments)
    }

    /// What is attached to a cgroup v2 directory.
    ///
    /// # Errors
    /// [`Error::NotCgroup`], and as [`Registry::list`].
    pub fn at_cgroup(&self, path: &Path) -> Result<Vec<Attachment>, Error> {
        let wanted = Cgroup::open(path)?.id;
        let mut attachments = self.list()?;
        attachments.retain(|a| matches!(a.site, Site::Cgroup { id, .. } if id == wanted));
        Ok(attachments)
    }

    /// What is attached to an interface of the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::NoInterface`], and as [`Registry::list`].
    pub fn at_interface(&self, name: &str) -> Result<Vec<Attachment>, Error> {
        let wanted = devices::interface(name)?.index;
        let here = current_netns()?;
        let mut attachments = self.list()?;
        attachments.retain(|a| {
            matches!(a.site, Site::Interface { netns, index, .. } if netns == here && index == wanted)
        });
        Ok(attachments)
    }

    /// The programs that run at a place, with their maps, to be attached elsewhere.
    ///
    /// # Errors
    /// [`Error::Refused`], also when nothing runs there any more.
    pub fn running_at(&self, site: &Site) -> Result<Loaded, Error> {
        let mut programs = BTreeMap::new();
        for attachment in self.list()?.into_iter().filter(|it| it.site == *site) {
            let program =
                Program::from_id(attachment.program_id).map_err(Error::refused(Step::Inspect))?;
            programs.insert(attachment.hook, program);
        }
        Loaded::of_programs(programs)
    }

    /// Detaches a program at once and removes its pin, and the directories that are empty then. A companion
    /// is detached behind its program.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Io`].
    pub fn detach(&self, attachment: &Attachment) -> Result<(), Error> {
        // A companion may serve other interfaces, and goes with its last pin.
        match bpffs::open(&attachment.pin)? {
            Some(Object::Link(link)) if !attachment.is_companion() => {
                detach_link(&link, attachment.hook)?;
            }
            Some(Object::Program(_)) => {
                if let Some(dispatchers) = attachment.dispatchers(&self.root) {
                    dispatchers.remove()?;
                }
            }
            _ => {}
        }
        bpffs::remove(&attachment.pin)?;
        if let Some(dir) = attachment.pin.parent() {
            if attachment.hook == Hook::CgroupIngress {
                hand_over::remove(dir)?;
            }
            remove_empty(&self.root, dir);
        }
        Ok(())
    }
}

impl Attachment {
    /// Whether this only tracks connections for an XDP program.
    pub fn is_companion(&self) -> bool {
        matches!(self.site, Site::Interface { .. }) && self.hook != Hook::Xdp
    }

    /// The dispatchers of an interface.
    pub(crate) fn dispatchers(&self, root: &Path) -> Option<Dispatchers> {
        let Site::Interface { index, .. } = self.site else {
            return None;
        };
        Some(Dispatchers::of(index, self.pin.parent()?, root))
    }

    /// The maps of the program that is attached: its counters and the text of its rules.
    ///
    /// # Errors
    /// [`Error::Refused`], also when the program was replaced since the attachment was listed.
    pub fn maps(&self) -> Result<Maps, Error> {
        let program = Program::from_id(self.program_id).map_err(Error::refused(Step::Inspect))?;
        Maps::of_program(&program)
    }
}

/// Links made or changed so far, undone on drop unless kept.
struct Changes {
    root: PathBuf,
    /// The directories of the pins.
    dirs: Vec<PathBuf>,
    done: Vec<Change>,
}

enum Change {
    Created {
        link: Link,
        hook: Hook,
        pin: PathBuf,
    },
    Replaced {
        link: Link,
        before: Program,
    },
    /// A dispatcher calls the program, in the place of another or of none.
    Dispatched {
        dispatchers: Dispatchers,
        before: Option<Program>,
    },
    /// A companion or a hand-over has another link, or one where there was none.
    Beside {
        before: Option<Link>,
        pin: PathBuf,
    },
}

impl Changes {
    fn below(root: &Path) -> Changes {
        Changes {
            root: root.to_owned(),
            dirs: Vec::new(),
            done: Vec::new(),
        }
    }

    fn make_dir(&mut self, dir: &Path) -> Result<(), Error> {
        bpffs::create_dir(dir)?;
        self.dirs.push(dir.to_owned());
        Ok(())
    }

    /// Puts a program to a place: into the link that is pinned in `dir`, or into a new one.
    fn put(
        &mut self,
        program: &Program,
        hook: Hook,
        place: LinkPlace,
        dir: &Path,
        create: impl FnOnce() -> io::Result<Link>,
    ) -> Result<(), Error> {
        self.make_dir(dir)?;
        let pin = dir.join(hook.program_name());
        match bpffs::open(&pin)? {
            Some(Object::Link(link)) if link.place == place => {
                return self.replace(&link, program, hook);
            }
            Some(_) => return Err(Error::NotOurs { path: pin }),
            None => {}
        }
        let link = create().map_err(Error::refused(Step::Attach(hook)))?;
        bpffs::pin(&link, &pin)?;
        self.done.push(Change::Created { link, hook, pin });
        Ok(())
    }

    /// Has a dispatcher call a program, and tells whether it is the first of ours there.
    fn put_dispatched(
        &mut self,
        dispatchers: Dispatchers,
        program: &Program,
        dir: &Path,
    ) -> Result<bool, Error> {
        self.make_dir(dir)?;
        let before = dispatchers.put(program)?;
        let is_first = before.is_none();
        self.done.push(Change::Dispatched {
            dispatchers,
            before,
        });
        Ok(is_first)
    }

    /// Puts a program into a link.
    fn replace(&mut self, link: &Link, program: &Program, hook: Hook) -> Result<(), Error> {
        let before = Program::from_id(link.program_id).map_err(Error::refused(Step::Inspect))?;
        let link = link.again().map_err(Error::refused(Step::Inspect))?;
        link.update(program)
            .map_err(Error::refused(Step::Replace(hook)))?;
        self.done.push(Change::Replaced { link, before });
        Ok(())
    }

    /// Pins the link of a companion or a hand-over, in the place of another if there is one.
    fn pin_beside(&mut self, link: &Link, pin: PathBuf) -> Result<(), Error> {
        let before = match bpffs::open(&pin)? {
            Some(Object::Link(before)) if before.id == link.id => return Ok(()),
            Some(Object::Link(before)) => Some(before),
            Some(_) => return Err(Error::NotOurs { path: pin }),
            None => None,
        };
        bpffs::replace(link, &pin)?;
        self.done.push(Change::Beside { before, pin });
        Ok(())
    }

    fn keep(mut self) {
        self.dirs.clear();
        self.done.clear();
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // The error that led here is the one to tell; of these there is no more to be done.
        for change in self.done.drain(..).rev() {
            match change {
                Change::Created { link, hook, pin } => {
                    let _ = detach_link(&link, hook);
                    let _ = bpffs::remove(&pin);
                }
                Change::Replaced { link, before } => {
                    let _ = link.update(&before);
                }
                Change::Dispatched {
                    dispatchers,
                    before,
                } => {
                    let _ = match before {
                        Some(program) => dispatchers.put(&program).map(drop),
                        None => dispatchers.remove(),
                    };
                }
                Change::Beside { before, pin } => {
                    let _ = match before {
                        Some(link) => bpffs::replace(&link, &pin),
                        None => bpffs::remove(&pin),
                    };
                }
            }
        }
        for dir in &self.dirs {
            remove_empty(&self.root, dir);
        }
    }
}

/// The network namespace and the index of the interface that a directory is of.
fn place_of(dir: &Path) -> Option<(u64, u32)> {
    let name = file_name(dir);
    let (netns, index) = name.split_once('_')?;
    Some((netns.parse().ok()?, index.parse().ok()?))
}

/// Whether a dispatcher is to call the program: where one has called it, where one runs, or where that is wished.
/// What is attached by a link stays so.
fn is_dispatched(
    dispatchers: &Dispatchers,
    dir: &Path,
    loaded: &Loaded,
    wish: XdpWish,
) -> Result<bool, Error> {
    Ok(match bpffs::open(&dir.join(Hook::Xdp.program_name()))? {
        Some(Object::Program(_)) => true,
        Some(_) => false,
        None => {
            loaded.can_extend()
                && (wish == XdpWish::Dispatched
                    || loaded.program(Hook::Xdp)?.is_extension
                    || dispatchers.running()?.is_some())
        }
    })
}

/// The program of ours that a dispatcher calls, or called before its interface was removed.
fn dispatched(
    dispatchers: &Dispatchers,
    site: Site,
    dir: &Path,
    is_here: bool,
) -> Result<Option<Attachment>, Error> {
    let pin = dir.join(Hook::Xdp.program_name());
    let Some(Object::Program(program)) = bpffs::open(&pin)? else {
        return Ok(None);
    };
    let link = dispatchers.link_of(program.id)?;
    // Elsewhere nobody tells which program the interface has.
    let runs = match is_here {
        true => dispatchers
            .running()?
            .is_some_and(|it| it.programs().any(|id| id == program.id)),
        false => link.is_some(),
    };
    Ok(Some(Attachment {
        site,
        hook: Hook::Xdp,
        link_id: link.map_or(0, |link| link.id),
        program_id: program.id,
        alive: runs,
        pin,
    }))
}

/// Removes pins below a directory that never got their names, and those of links whose place is gone.
fn sweep_dir(dir: &Path) -> Result<(), Error> {
    for hook in Hook::ALL {
        let pin = dir.join(hook.program_name());
        bpffs::remove(&bpffs::unnamed(&pin))?;
        if let Some(Object::Link(link)) = bpffs::open(&pin)?
            && is_dead(link.place)
        {
            bpffs::remove(&pin)?;
        }
    }
    Ok(())
}

/// Removes a directory and those above it, up to the root, as far as they are empty.
fn remove_empty(root: &Path, dir: &Path) {
    for dir in dir.ancestors() {
        // Removing fails where there is more in it, which is where to stop.
        if !dir.starts_with(root) || fs::remove_dir(dir).is_err() {
            break;
        }
    }
}

/// Where the companion of the XDP program of a directory is pinned.
fn companion_pin(dir: &Path) -> PathBuf {
    dir.join(Hook::CgroupEgress.program_name())
}

fn detach_link(link: &Link, hook: Hook) -> Result<(), Error> {
    match link.detach() {
        // Its place is gone already.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
        other => other.map_err(Error::refused(Step::Detach(hook))),
    }
}

fn attach_xdp_link(program: &Program, ifindex: u32, wish: XdpWish) -> io::Result<(Link, XdpMode)> {
    let native = || Link::xdp(program, ifindex, XDP_NATIVE).map(|link| (link, XdpMode::Native));
    let generic = |mode| Link::xdp(program, ifindex, XDP_GENERIC).map(|link| (link, mode));
    match wish {
        XdpWish::Native => native(),
        XdpWish::Generic => generic(XdpMode::Generic),
        XdpWish::Auto | XdpWish::Dispatched => {
            native().or_else(|refusal| match refusal.raw_os_error() {
                // These do not depend on the mode.
                Some(libc::EPERM | libc::EBUSY | libc::EEXIST | libc::ENODEV) => Err(refusal),
                _ => generic(XdpMode::Refused {
                    reason: refusal.to_string(),
                }),
            })
        }
    }
}

/// Names the program that is in the way, where one is.
fn told_of_other(error: Error, index: u32) -> Error {
    let taken = matches!(&error, Error::Refused { source, step: Step::Attach(Hook::Xdp), .. }
        if matches!(source.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)));
    match xdp_program(index) {
        Ok(Some(program)) if taken => Error::OtherXdp {
            interface: devices::name_of(index).unwrap_or_else(|| index.to_string()),
            program,
        },
        _ => error,
    }
}

fn attachments_in(dir: &Path, site: &Site, out: &mut Vec<Attachment>) -> Result<(), Error> {
    for hook in Hook::ALL {
        let pin = dir.join(hook.program_name());
        if let Some(Object::Link(link)) = bpffs::open(&pin)? {
            out.push(Attachment {
                site: site.clone(),
                hook,
                link_id: link.id,
                program_id: link.program_id,
                alive: !is_dead(link.place),
                pin,
            });
        }
    }
    Ok(())
}

fn is_dead(place: LinkPlace) -> bool {
    matches!(place, LinkPlace::Cgroup(0) | LinkPlace::Xdp(0))
}

fn current_netns() -> Result<u64, Error> {
    Ok(fs::metadata(NETNS).map_err(Error::io(NETNS))?.ino())
}
