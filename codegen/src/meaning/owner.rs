//! `owner_mt` of net/netfilter/xt_owner.c: who opened the socket that sends the packet.

use std::fmt;

use ipt2bpf_parser::matches::owner::Owner;
use ipt2bpf_parser::range::Range;
use ipt2bpf_parser::ruleset::Negatable;

use super::{Context, MatchMeaning, Refusal, constant, kernel_only};
use crate::asm::{Alu, Cond, KernelField, Label, Operand, Reg, Size};
use crate::emit::link::{Body, Call, Linker};
use crate::field::Field;
use crate::module::Hook;
use crate::packet::{Opener, Packet};
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

impl MatchMeaning for Owner {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        match context.hook {
            // Packets on their way through have no socket.
            Hook::Xdp => return Ok(vec![Step::require(constant(self.holds_without_socket()))]),
            Hook::CgroupIngress => {
                return Err(Refusal {
                    code: "unseen",
                    reason: "asks who sends the packet, which only this host's own packets tell"
                        .into(),
                    help: "ask for it in chains of sent packets only".into(),
                });
            }
            Hook::CgroupEgress => {}
        }
        kernel_only(context, "the owner of a socket")?;
        let compare = CompareOwner {
            without_socket: self.holds_without_socket(),
            with_socket: self.socket_exists.as_ref().is_none_or(|it| !it.negated),
            without_file: self.holds_without_file(),
            user: self.user.as_ref().map(IdTest::of),
            group: self.group.as_ref().map(IdTest::of),
            supplementary_groups: self.supplementary_groups,
        };
        Ok(vec![
            Step::Ask(compare.into()),
            Step::require(Test::equal(Field::Answer, 1)),
        ])
    }
}

/// What xt_owner.c asks about the options.
trait Given {
    fn holds_without_socket(&self) -> bool;
    fn holds_without_file(&self) -> bool;
}

impl Given for Owner {
    /// `(info->match ^ info->invert) == 0`: each option is inverted, `--suppl-groups` among them, which
    /// cannot be.
    fn holds_without_socket(&self) -> bool {
        let exists = self.socket_exists.as_ref();
        exists.is_none_or(|it| it.negated)
            && self.holds_without_file()
            && !self.supplementary_groups
    }

    /// The same of `--uid-owner` and `--gid-owner`.
    fn holds_without_file(&self) -> bool {
        let ids = [&self.user, &self.group];
        ids.into_iter().flatten().all(|it| it.negated)
    }
}

/// A range that an id is in, or not in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct IdTest {
    low: u32,
    high: u32,
    negated: bool,
}

impl IdTest {
    fn of(option: &Negatable<Range<u32>>) -> Self {
        let Range { low, high } = option.value.value;
        IdTest {
            low,
            high,
            negated: option.negated,
        }
    }

    fn contains(&self, id: u32) -> bool {
        (self.low..=self.high).contains(&id)
    }
}

/// Compares the owner of the socket; answers 1 when the rule's match holds.
///
/// The kernel gives a cgroup program the full socket that the match finds for itself (`skb_to_full_sk`), and
/// only where that socket sends the packet in its own network namespace. Ids are those of the first user
/// namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CompareOwner {
    /// What holds when there is no socket, or no process has it any more.
    without_socket: bool,
    /// Whether it may hold when there is one.
    with_socket: bool,
    /// What holds for a socket of the kernel's own.
    without_file: bool,
    user: Option<IdTest>,
    group: Option<IdTest>,
    supplementary_groups: bool,
}

/// The binary search among the groups: as many steps as `NGROUPS_MAX` (65,536) takes.
const SEARCH_STEPS: usize = 17;

/// Where the search keeps its bounds and what it has read, on the stack.
mod search {
    pub const LOW: i16 = -12;
    pub const HIGH: i16 = -16;
    pub const GROUP: i16 = -20;
}

impl CompareOwner {
    fn holds_for(&self, opener: &Opener) -> bool {
        let user = |test: IdTest| test.contains(opener.user) != test.negated;
        let group = |test: IdTest| {
            let supplementary = self.supplementary_groups
                && opener.groups.iter().any(|&group| test.contains(group));
            (test.contains(opener.group) || supplementary) != test.negated
        };
        self.user.is_none_or(user) && self.group.is_none_or(group)
    }

    fn write(&self, body: &mut Body) {
        let no_socket = body.code.label();
        body.structure(no_socket);
        body.follow(KernelField::SkbSocket, no_socket);
        body.follow(KernelField::SockSocket, no_socket);
        let asks_for_ids = self.user.is_some() || self.group.is_some();
        match self.with_socket && asks_for_ids {
            true => self.compare_ids(body),
            false => body.answer(i32::from(self.with_socket)),
        }
        body.code.bind(no_socket);
        body.answer(i32::from(self.without_socket));
    }

    /// Compares the credentials of the file of the `struct socket` at R3.
    fn compare_ids(&self, body: &mut Body) {
        let credentials = Reg::R8;
        let (no_file, no) = (body.code.label(), body.code.label());
        body.follow(KernelField::SocketFile, no_file);
        body.follow(KernelField::FileCredentials, no_file);
        body.code.mov(credentials, Reg::R3);
        if let Some(test) = self.user {
            body.number_of(KernelField::CredentialsUser, Reg::R1);
            let (inside, outside) = (body.code.label(), body.code.label());
            range(body, test, inside, outside);
            go_on_if(body, test, inside, outside, no);
        }
        if let Some(test) = self.group {
            body.code.mov(Reg::R3, credentials);
            body.number_of(KernelField::CredentialsGroup, Reg::R1);
            let (inside, outside) = (body.code.label(), body.code.label());
            match self.supplementary_groups {
                true => self.search_groups(body, test, inside, outside),
                false => range(body, test, inside, outside),
            }
            go_on_if(body, test, inside, outside, no);
        }
        body.answer(1);
        body.code.bind(no_file);
        body.answer(i32::from(self.without_file));
        body.code.bind(no);
        body.answer(0);
    }

    /// Looks for the group in R1, then for the first of the supplementary groups that is not below the
    /// range: they stand in rising order (`groups_sort`, kernel/groups.c).
    fn search_groups(&self, body: &mut Body, test: IdTest, inside: Label, outside: Label) {
        let (credentials, groups, middle) = (Reg::R8, Reg::R8, Reg::R9);
        let others = body.code.label();
        range(body, test, inside, others);
        body.code.bind(others);
        body.code.mov(Reg::R3, credentials);
        body.follow(KernelField::CredentialsGroups, outside);
        body.code.mov(groups, Reg::R3);
        body.number_of(KernelField::GroupsCount, Reg::R1);
        body.code.store(Size::W, Reg::R10, search::HIGH, Reg::R1);
        body.code.store(Size::W, Reg::R10, search::LOW, 0);
        let low = Operand::Imm(test.low.cast_signed());
        for _ in 0..SEARCH_STEPS {
            let (below, done) = (body.code.label(), body.code.label());
            let code = &mut body.code;
            code.load(Size::W, middle, Reg::R10, search::LOW);
            code.load(Size::W, Reg::R1, Reg::R10, search::HIGH);
            code.branch32(Cond::Ge, middle, Reg::R1, done);
            code.alu(Alu::Add, middle, Reg::R1);
            code.alu(Alu::Rsh, middle, 1);
            self.read_group(body, groups, middle);
            let code = &mut body.code;
            code.branch32(Cond::Lt, Reg::R1, low, below);
            code.store(Size::W, Reg::R10, search::HIGH, middle);
            code.jump(done);
            code.bind(below);
            code.alu(Alu::Add, middle, 1);
            code.store(Size::W, Reg::R10, search::LOW, middle);
            code.bind(done);
        }
        body.code.mov(Reg::R3, groups);
        body.number_of(KernelField::GroupsCount, Reg::R1);
        let code = &mut body.code;
        code.load(Size::W, middle, Reg::R10, search::LOW);
        code.branch32(Cond::Ge, middle, Reg::R1, outside);
        self.read_group(body, groups, middle);
        range(body, test, inside, outside);
    }

    /// R1 = the group of a number
    fn read_group(&self, body: &mut Body, groups: Reg, number: Reg) {
        body.code.mov(Reg::R3, groups);
        body.field_of_structure(KernelField::GroupsList);
        body.code.mov(Reg::R1, number);
        body.code.alu(Alu::Lsh, Reg::R1, 2);
        body.code.alu(Alu::Add, Reg::R3, Reg::R1);
        body.read(4, search::GROUP);
        body.code.load(Size::W, Reg::R1, Reg::R10, search::GROUP);
    }
}

/// Goes where R1 belongs.
fn range(body: &mut Body, test: IdTest, inside: Label, outside: Label) {
    let (low, high) = (test.low.cast_signed(), test.high.cast_signed());
    body.code.branch32(Cond::Lt, Reg::R1, low, outside);
    body.code.branch32(Cond::Le, Reg::R1, high, inside);
    body.code.jump(outside);
}

/// Goes on where the test holds, else to `no`.
fn go_on_if(body: &mut Body, test: IdTest, inside: Label, outside: Label, no: Label) {
    let (holds, fails) = match test.negated {
        false => (inside, outside),
        true => (outside, inside),
    };
    body.code.bind(fails);
    body.code.jump(no);
    body.code.bind(holds);
}

impl Perform for CompareOwner {
    fn perform(&self, packet: &mut Packet<'_>, _: &mut World) -> u32 {
        let holds = match packet.socket().filter(|socket| socket.is_open) {
            None => self.without_socket,
            Some(_) if !self.with_socket => false,
            Some(socket) => match &socket.opener {
                None => self.without_file,
                Some(opener) => self.holds_for(opener),
            },
        };
        holds.into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        Call {
            function: linker.function("owner", 0, |body| self.write(body)),
            arguments: Vec::new(),
        }
    }
}

impl fmt::Display for CompareOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("owner of the socket:")?;
        for (name, test) in [("user", self.user), ("group", self.group)] {
            if let Some(IdTest { low, high, negated }) = test {
                let not = if negated { "not " } else { "" };
                write!(f, " {name} {not}in {low}..={high}")?;
            }
        }
        if self.supplementary_groups {
            f.write_str(" or a supplementary group")?;
        }
        let or = |holds| if holds { "yes" } else { "no" };
        write!(
            f,
            " (other sockets {}, of the kernel {}, none {})",
            or(self.with_socket),
            or(self.without_file),
            or(self.without_socket)
        )
    }
}
