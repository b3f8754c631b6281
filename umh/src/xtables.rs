//! The socket options of iptables, answered from what is attached to a place.
//!
//! There is no state here. The rules are those whose text the attached programs carry, the counters those
//! of their maps; a new table becomes new programs in the place of the old ones, in one step. Numbers, sizes
//! and errors are the kernel's (net/ipv4/netfilter/ip_tables.c, net/ipv6/netfilter/ip6_tables.c): `do_ipt_get_ctl`,
//! `do_ipt_set_ctl` and what they call.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipt2bpf_parser::blob::{Kind, Revision, revision};
use ipt2bpf_parser::input::Input;
use ipt2bpf_parser::ipset::Set;
use ipt2bpf_parser::ruleset::{Family, TableKind};
use ipt2bpf_runtime::{
    Counter, Maps, Registry, XdpWish, load_keeping, load_remembering, system_names,
};
use zerocopy::byteorder::native_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::compiler::job::{Change, Changed, Job, List, Listing};
use crate::compiler::pool::Pool;
use crate::failure::Failure;
use crate::ipset::KernelSets;
use crate::place::Place;
use crate::request::Choices;

/// `IPT_SO_SET_REPLACE`, `IPT_SO_GET_INFO`.
pub const REPLACE_OR_INFO: u32 = 64;
/// `IPT_SO_SET_ADD_COUNTERS`, `IPT_SO_GET_ENTRIES`.
pub const COUNTERS_OR_ENTRIES: u32 = 65;

/// The options that tell of revisions, for matches and for targets.
pub fn revision_options(family: Family) -> [u32; 2] {
    match family {
        Family::V4 => [66, 67],
        Family::V6 => [68, 69],
    }
}

/// The size of `struct ipt_getinfo`.
const INFO_SIZE: usize = 84;
/// The size of `struct ipt_get_entries` without entries, and of `struct xt_counters_info` without counters.
const HEAD_SIZE: usize = 40;
/// The size of `struct xt_get_revision`.
const REVISION_SIZE: usize = 30;
/// The size of `struct ipt_replace` without entries.
const REPLACE_SIZE: usize = 96;

/// An error number of the kernel's (errno(3)), above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What a call did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// What the caller reads.
    pub payload: Vec<u8>,
    /// What is to be written to an address in the caller's memory: the counters of the entries that are gone.
    pub old_counters: Option<(u64, Vec<u8>)>,
    /// What is to be said of the rules: text for people.
    pub said: String,
}

/// Why a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller is told.
    pub errno: Errno,
    /// Why, in text for people; empty where the number says it all.
    pub said: String,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        let said = String::new();
        Refusal { errno, said }
    }
}

impl From<ipt2bpf_runtime::Error> for Refusal {
    fn from(error: ipt2bpf_runtime::Error) -> Refusal {
        Refusal {
            errno: Errno(libc::EIO),
            said: error.to_string(),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal {
            errno: Errno(libc::EIO),
            said: format!("{} {}", failure.error, failure.parameters),
        }
    }
}

/// `struct xt_counters_info` and `struct ipt_get_entries` up to what follows them.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Head {
    name: [u8; 32],
    /// The number of counters, or the size of the entries.
    number: U32,
    padding: [u8; 4],
}

/// `struct xt_counters`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct XtCounters {
    packets: U64,
    bytes: U64,
}

/// The tables of a place.
#[derive(Debug)]
pub struct Tables {
    /// Where the programs are.
    pub place: Place,
    /// What is attached.
    pub registry: Registry,
    /// Who compiles.
    pub pool: Arc<Pool>,
    /// How new rules are translated.
    pub choices: Choices,
}

/// What is in force.
#[derive(Default)]
struct Current {
    objects: Vec<Maps>,
    text: Vec<u8>,
    counters: Vec<(u64, u64)>,
}

impl Tables {
    /// The bytes of the caller's buffer that [`Tables::get`] looks at.
    pub const HEAD: usize = HEAD_SIZE;

    /// `getsockopt` with this option and a buffer of `length` bytes that begins with `head`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn get(
        &self,
        family: Family,
        option: u32,
        head: &[u8],
        length: usize,
    ) -> Result<Done, Refusal> {
        let [matches, targets] = revision_options(family);
        let payload = match option {
            REPLACE_OR_INFO => {
                if length != INFO_SIZE {
                    return Err(Errno(libc::EINVAL).into());
                }
                let (listing, mut bytes) = self.listing(family, table_of(head)?)?;
                bytes.truncate(listing.info);
                bytes
            }
            COUNTERS_OR_ENTRIES => {
                let (head, _) = Head::ref_from_prefix(head).map_err(|_| Errno(libc::EINVAL))?;
                let size = head.number.get() as usize;
                if length != HEAD_SIZE.saturating_add(size) {
                    return Err(Errno(libc::EINVAL).into());
                }
                let (listing, mut bytes) = self.listing(family, table_of(&head.name)?)?;
                bytes.drain(..listing.info.min(bytes.len()));
                if bytes.len() != length {
                    return Err(Errno(libc::EAGAIN).into());
                }
                bytes
            }
            option if option == matches || option == targets => {
                let kind = match option == matches {
                    true => Kind::Match,
                    false => Kind::Target,
                };
                let asked = head
                    .get(..REVISION_SIZE)
                    .filter(|_| length == REVISION_SIZE);
                let (number, name) = asked
                    .and_then(<[u8]>::split_last)
                    .ok_or(Errno(libc::EINVAL))?;
                let name = until_nul(name).ok_or(Errno(libc::ENOENT))?;
                match revision(family, kind, name, *number) {
                    Revision::Known => Vec::new(),
                    Revision::Other => return Err(Errno(libc::EPROTONOSUPPORT).into()),
                    Revision::Unknown => return Err(Errno(libc::ENOENT).into()),
                }
            }
            _ => return Err(Errno(libc::ENOPROTOOPT).into()),
        };
        Ok(Done {
            payload,
            ..Done::default()
        })
    }

    /// `setsockopt` with this option and value.
    ///
    /// # Errors
    /// The kernel's; EOPNOTSUPP where rules cannot be translated.
    pub fn set(&self, family: Family, option: u32, value: &[u8]) -> Result<Done, Refusal> {
        match option {
            REPLACE_OR_INFO if value.len() < REPLACE_SIZE => Err(Errno(libc::EINVAL).into()),
            REPLACE_OR_INFO => self.replace(family, value),
            COUNTERS_OR_ENTRIES => self.add_counters(family, value),
            _ => Err(Errno(libc::ENOPROTOOPT).into()),
        }
    }

    /// Which tables somebody has changed, the latest first, a line each, as /proc/net/ip_tables_names has them.
    ///
    /// # Errors
    /// Those of looking at what is attached.
    pub fn names(&self, family: Family) -> Result<String, Refusal> {
        let current = self.current()?;
        let text = String::from_utf8_lossy(&current.text);
        let mut sources = ipt2bpf_parser::span::Sources::default();
        let id = sources.add("rules", text.as_bytes());
        let parsed = ipt2bpf_parser::parse(&sources, id, &ipt2bpf_parser::ParseOptions::default());
        let rulesets = parsed.rulesets.into_iter();
        let tables = rulesets
            .filter(|ruleset| ruleset.family == family)
            .flat_map(|ruleset| ruleset.tables);
        Ok(tables.map(|table| format!("{}\n", table.kind)).collect())
    }

    fn current(&self) -> Result<Current, Refusal> {
        let objects = self.place.objects(&self.registry)?;
        let Some(maps) = objects.first() else {
            return Ok(Current::default());
        };
        Ok(Current {
            text: maps.rules_text()?,
            counters: maps.counters()?.iter().map(pair).collect(),
            objects,
        })
    }

    fn listing(&self, family: Family, table: TableKind) -> Result<(Listing, Vec<u8>), Refusal> {
        let current = self.current()?;
        let sets = KernelSets::asked_for(&current.text);
        self.list(family, table, &current, sets.names)
    }

    fn list(
        &self,
        family: Family,
        table: TableKind,
        current: &Current,
        sets: BTreeMap<u16, String>,
    ) -> Result<(Listing, Vec<u8>), Refusal> {
        let job = Job::List(List {
            family,
            table,
            counters: current.counters.clone(),
            sets,
        });
        Ok(self.pool.ask(user(), &job, current.text.clone())?)
    }

    fn replace(&self, family: Family, blob: &[u8]) -> Result<Done, Refusal> {
        let _alone = self.registry.turn()?;
        let current = self.current()?;
        let sets = KernelSets::asked_for(&[&current.text[..], blob].concat());
        let hooks = self.place.hooks();
        let job = Job::Change(Change {
            family,
            text: current.text.len(),
            hooks: hooks.clone(),
            choices: self.choices.clone(),
            sets: sets.names,
            set_text: sets.text.clone(),
        });
        let bytes = [&current.text, blob].concat();
        let (changed, object) = self.pool.ask(user(), &job, bytes)?;
        let (said, carried, old, fresh, address) = match changed {
            Changed::Errno(errno) => return Err(Errno(errno).into()),
            Changed::Refused(said) => {
                let errno = Errno(libc::EOPNOTSUPP);
                return Err(Refusal { errno, said });
            }
            Changed::Done {
                said,
                carried,
                old,
                fresh,
                address,
            } => (said, carried, old, fresh, address),
        };
        let loaded = match current.objects.as_slice() {
            [only] => load_remembering(&object, only)?,
            several => load_keeping(&object, several)?,
        };
        let maps = loaded.maps();
        maps.clear_states(fresh.iter().map(|(map, index)| (map.as_str(), *index)))?;
        maps.fill()?;
        fill_sets(maps, &current.objects, &sets.text)?;
        maps.seed_connections()?;
        let at = |counters: &[(u64, u64)], index: Option<u32>| {
            let found = index.and_then(|index| counters.get(index as usize));
            found.copied().unwrap_or_default()
        };
        let going_on = carried.iter().map(|&index| at(&current.counters, index));
        let going_on: Vec<Counter> = going_on.map(counter).collect();
        maps.seed_counters(&going_on)?;
        let notes = self.place.put(&self.registry, &loaded, XdpWish::Auto)?;
        // From here on nothing fails: the new rules are in force.
        let last = current
            .objects
            .first()
            .and_then(|maps| maps.counters().ok());
        let last: Vec<(u64, u64)> = match last {
            Some(counters) => counters.iter().map(pair).collect(),
            None => current.counters.clone(),
        };
        let late = (0u32..).zip(&carried).filter_map(|(number, &index)| {
            let (before, after) = (at(&current.counters, index), at(&last, index));
            let more = (
                after.0.wrapping_sub(before.0),
                after.1.wrapping_sub(before.1),
            );
            (more != (0, 0)).then_some((number, counter(more)))
        });
        let late: Vec<(u32, Counter)> = late.collect();
        // These few packets would be counted nowhere else; the rules hold without them.
        let _ = maps.add_to_counters(&late);
        let old = old.iter().map(|&index| at(&last, index));
        let old: Vec<u8> = old.flat_map(counter_bytes).collect();
        Ok(Done {
            payload: Vec::new(),
            old_counters: Some((address, old)),
            said: notes
                .iter()
                .map(|note| format!("warning: {note}\n"))
                .collect::<String>()
                + &said,
        })
    }

    fn add_counters(&self, family: Family, value: &[u8]) -> Result<Done, Refusal> {
        let invalid = || Errno(libc::EINVAL);
        let (head, counters) = Head::ref_from_prefix(value).map_err(|_| invalid())?;
        let counters = <[XtCounters]>::ref_from_bytes(counters).map_err(|_| invalid())?;
        if counters.is_empty() || counters.len() != head.number.get() as usize {
            return Err(invalid().into());
        }
        let table = table_of(&head.name)?;
        let _alone = self.registry.turn()?;
        let current = self.current()?;
        let sets = KernelSets::asked_for(&current.text);
        let (listing, _) = self.list(family, table, &current, sets.names)?;
        if listing.counters.len() != counters.len() {
            return Err(invalid().into());
        }
        let more = listing.counters.iter().zip(counters);
        let more = more.filter_map(|(&index, it)| {
            let counter = counter((it.packets.get(), it.bytes.get()));
            Some((index.filter(|_| counter != Counter::default())?, counter))
        });
        let more: Vec<(u32, Counter)> = more.collect();
        if let Some(maps) = current.objects.first() {
            maps.add_to_counters(&more)?;
        }
        Ok(Done::default())
    }
}

/// Gives the sets that can change the elements that those in force have, and where there are none, those of the
/// kernel.
fn fill_sets(maps: &Maps, in_force: &[Maps], kernel: &str) -> Result<(), ipt2bpf_runtime::Error> {
    let live = maps.live_sets()?;
    if live.is_empty() {
        return Ok(());
    }
    let mut known: Vec<Set> = Vec::new();
    for maps in in_force {
        for set in maps.live_sets()? {
            known.push(set.with_entries()?);
        }
    }
    let mut input = Input::default();
    let text = ("<ipset save>".to_owned(), kernel.as_bytes().to_vec());
    input.add_sets([text], &system_names());
    known.append(&mut input.sets);
    for set in live {
        let same = |it: &&Set| it.name.value == set.name() && it.kind == set.set.kind;
        let given = known.iter().find(same);
        set.fill(given.map_or(&[], |given| &given.entries))?;
    }
    Ok(())
}

/// Whose compiler process works on tables: that of whoever changes them, which is this process.
fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn pair(counter: &Counter) -> (u64, u64) {
    (counter.packets, counter.bytes)
}

fn counter((packets, bytes): (u64, u64)) -> Counter {
    Counter { packets, bytes }
}

fn counter_bytes((packets, bytes): (u64, u64)) -> [u8; 16] {
    let counters = XtCounters {
        packets: packets.into(),
        bytes: bytes.into(),
    };
    zerocopy::transmute!(counters)
}

fn until_nul(field: &[u8]) -> Option<&str> {
    let name = field.split(|&byte| byte == 0).next()?;
    str::from_utf8(name).ok()
}

/// The table whose name a structure begins with; the kernel ends the name at the last byte.
fn table_of(head: &[u8]) -> Result<TableKind, Errno> {
    let name = head.get(..31).unwrap_or(head);
    let mut kinds = TableKind::ALL.into_iter();
    kinds
        .find(|kind| until_nul(name) == Some(&kind.to_string()))
        .ok_or(Errno(libc::ENOENT))
}
