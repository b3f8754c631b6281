//! A program: reads the packet, then runs the stages of its family one after the other.
//!
//! Functions of rules give back a verdict or the entry to go on at. A stage of one function is a call; a
//! stage of several calls each in turn that holds the entry, which is enough while packets only go
//! forward; where they return through the packet's stack, `bpf_loop` repeats that.

use std::ops::Range;

use ipt2bpf_parser::ruleset::{Family, TableKind};

use super::frame::Frame;
use super::link::TrackingCalls;
use super::parse::{CONTEXT, Demand, ETHERTYPE_IPV4, ETHERTYPE_IPV6, KernelAccess, Parser, xdp};
use super::rules::{entries_of, takes_entry};
use crate::asm::{Alu, Code, Cond, FunctionId, Helper, Imm64, Label, MapId, Operand, Reg, Size};
use crate::field::{Field, layout};
use crate::meaning::hops;
use crate::module::Hook;
use crate::options::{DeviceNames, XdpPath};
use crate::plan::{ACCEPT, DROP, FIRST_ENTRY, StagePlan};
use crate::semantic::{FamilyFilter, Path, family_name};

/// Return values of `enum xdp_action`.
pub const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
/// Sends the frame back by the interface that it came from.
pub const XDP_TX: i32 = 3;

/// `struct bpf_fib_lookup` and its results (include/uapi/linux/bpf.h).
pub mod fib {
    #![allow(missing_docs)]
    pub const SIZE: i32 = 64;
    pub const FAMILY: i16 = 0;
    pub const IFINDEX: i16 = 8;
    /// `tos` for IPv4, `flowinfo` for IPv6.
    pub const TOS: i16 = 12;
    pub const SOURCE: i16 = 16;
    pub const DESTINATION: i16 = 32;
    pub const AF_INET: i32 = 2;
    pub const AF_INET6: i32 = 10;
    pub const SUCCESS: i32 = 0;
    pub const PROHIBIT: i32 = 3;
    pub const NOT_FORWARDED: i32 = 4;
    pub const FORWARDING_DISABLED: i32 = 5;
}

/// Where IPv4's checksum lies in its header.
const CHECKSUM: i16 = 10;

/// Where the time to live or hop limit lies in the IP header.
fn hop_limit(family: Family) -> i16 {
    match family {
        Family::V4 => 8,
        Family::V6 => 7,
    }
}

/// A stage with the functions that are its code.
pub struct CompiledStage<'a> {
    /// Its layout.
    pub plan: &'a StagePlan,
    /// One for each of the plan's functions.
    pub functions: Vec<FunctionId>,
    /// The callback that finds the function to go on in, where packets return through the stack.
    pub turn: Option<FunctionId>,
}

/// One family of a program.
pub struct CompiledFamily<'a> {
    /// Its rules.
    pub filter: &'a FamilyFilter,
    /// Its stages, in order.
    pub stages: Vec<CompiledStage<'a>>,
    /// What gives the program's result for a dropped packet, where rules reject with an answer.
    pub answer: Option<FunctionId>,
    /// What tracks its connections, where that is asked for.
    pub tracking: Option<TrackingCalls>,
}

/// What a program needs to know besides its rules.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Its hook.
    pub hook: Hook,
    /// Where packets go at XDP.
    pub xdp_path: XdpPath,
    /// How interface names are found.
    pub device_names: DeviceNames,
    /// The devices map, when one is needed.
    pub devices: Option<MapId>,
    /// Its stack.
    pub frame: Frame,
    /// Whether the verifier must see the whole struct filled: global functions are given it.
    pub whole_packet: bool,
}

/// Writes a program.
pub fn emit(settings: Settings, families: &[CompiledFamily<'_>]) -> Code {
    let mut code = Code::default();
    let (pass, drop) = (code.label(), code.label());
    code.line(format!("{}:", settings.hook));
    code.mov(CONTEXT, Reg::R1);
    let mut writer = Writer {
        settings,
        code,
        pass,
        drop,
        dropped: drop,
    };
    let active: Vec<&CompiledFamily<'_>> = families
        .iter()
        .filter(|family| !family.stages.is_empty() || family.tracking.is_some())
        .collect();
    if !active.is_empty() {
        let tags = active.iter().any(|family| {
            settings.hook == Hook::Xdp
                && Demand::of(family.filter).has_any(&Field::OF_RECEIVING_INTERFACE)
        });
        writer.parser().ethertype(tags);
    }
    for family in &active {
        let other = writer.code.label();
        let ethertype = match family.filter.family {
            Family::V4 => ETHERTYPE_IPV4,
            Family::V6 => ETHERTYPE_IPV6,
        };
        writer.code.branch(Cond::Ne, Reg::R1, ethertype, other);
        writer.code.line(family_name(family.filter.family));
        writer.dropped = match family.answer {
            Some(_) => writer.code.label(),
            None => drop,
        };
        writer.family(family);
        writer.code.jump(pass);
        if let Some(answer) = family.answer {
            writer.answer(answer);
        }
        writer.code.bind(other);
    }
    let (pass_value, drop_value) = match settings.hook {
        Hook::Xdp => (XDP_PASS, XDP_DROP),
        Hook::CgroupIngress | Hook::CgroupEgress => (1, 0),
    };
    writer.code.bind(pass);
    writer.code.line("pass");
    writer.leave(pass_value);
    if !active.is_empty() {
        writer.code.bind(drop);
        writer.code.line("drop");
        writer.leave(drop_value);
    }
    writer.code
}

/// Writes the callback of `bpf_loop`: `long turn(u32 index, struct packet *packet)`, which calls the
/// function that holds the packet's entry and stops the loop at a verdict.
pub fn emit_turn(plan: &StagePlan, functions: &[FunctionId]) -> Code {
    let mut code = Code::default();
    code.line("find the function to go on in");
    code.mov(Reg::R6, Reg::R2);
    code.load(Size::W, Reg::R7, Reg::R6, layout::ENTRY);
    call_in_turn(&mut code, plan, functions, |code| {
        code.load(Size::D, Reg::R1, Reg::R6, Frame::CONTEXT);
        code.mov(Reg::R2, Reg::R6);
    });
    code.store(Size::W, Reg::R6, layout::ENTRY, Reg::R7);
    let decided = code.label();
    code.mov(Reg::R0, 1);
    code.branch32(Cond::Lt, Reg::R7, FIRST_ENTRY as i32, decided);
    code.mov(Reg::R0, 0);
    code.bind(decided);
    code.exit();
    code
}

/// Calls each function whose entries hold R7, which its result replaces. `packet` sets the context and the
/// packet.
fn call_in_turn(
    code: &mut Code,
    plan: &StagePlan,
    functions: &[FunctionId],
    packet: impl Fn(&mut Code),
) {
    for (range, function) in plan.functions.iter().zip(functions) {
        let Range { start, end } = entries_of(plan, range);
        let next = code.label();
        let less = Operand::Imm(start as i32);
        code.branch32(Cond::Lt, Reg::R7, less, next);
        let more = Operand::Imm(end as i32);
        code.branch32(Cond::Ge, Reg::R7, more, next);
        packet(code);
        if takes_entry(plan, range) {
            code.mov(Reg::R3, Reg::R7);
        }
        code.call_function(*function);
        code.mov(Reg::R7, Reg::R0);
        code.bind(next);
    }
}

struct Writer {
    settings: Settings,
    code: Code,
    pass: Label,
    drop: Label,
    /// Where a packet goes that a stage of the family in work has dropped.
    dropped: Label,
}

impl Writer {
    fn parser(&mut self) -> Parser<'_> {
        Parser {
            code: &mut self.code,
            hook: self.settings.hook,
            frame: self.settings.frame,
            drop: self.drop,
            pass: self.pass,
        }
    }

    fn family(&mut self, family: &CompiledFamily<'_>) {
        let Settings {
            hook,
            device_names,
            devices,
            ..
        } = self.settings;
        let mut demand = Demand::of(family.filter);
        demand.whole |= self.settings.whole_packet;
        if hook == Hook::Xdp && demand.has_any(&Field::OF_RECEIVING_INTERFACE) {
            self.parser().no_vlan();
        }
        self.parser().packet(family.filter.family, &demand);
        let own = match hook {
            Hook::CgroupIngress | Hook::Xdp => Field::InDevice,
            Hook::CgroupEgress => Field::OutDevice,
        };
        if demand.has(own) {
            self.parser().device(own, device_names, devices);
        }
        if let Some(access) = KernelAccess::of(device_names) {
            self.parser().kernel_fields(&demand, access);
        }
        let on = |path: Path| {
            family
                .stages
                .iter()
                .filter(move |stage| stage.plan.stage.path == path)
        };
        if family.filter.tracking.is_some_and(|it| it.fragments) {
            self.later_fragments_pass();
        }
        let is_raw = |stage: &&CompiledStage<'_>| stage.plan.stage.table == TableKind::Raw;
        for stage in on(Path::All).filter(is_raw) {
            self.stage(family.filter, stage);
        }
        if let Some(tracking) = family.tracking {
            self.track(tracking);
        }
        let group_asked_behind = hops::asked_behind(family.filter);
        for (number, stage) in on(Path::All).enumerate() {
            if !is_raw(&stage) {
                self.stage(family.filter, stage);
            }
            if group_asked_behind == Some(number + 1) {
                self.group_needs_a_hop();
            }
        }
        let accepted = self.code.label();
        self.routed(family, accepted, demand);
        self.code.bind(accepted);
        if let Some(tracking) = family.tracking {
            self.confirm(tracking);
        }
    }

    /// The stages for packets whose way routing decides; those that pass come to `accepted`.
    fn routed(&mut self, family: &CompiledFamily<'_>, accepted: Label, demand: Demand) {
        let on = |path: Path| {
            family
                .stages
                .iter()
                .filter(move |stage| stage.plan.stage.path == path)
        };
        let has = |path: Path| on(path).next().is_some();
        if !has(Path::Local) && !has(Path::Transit) {
            return;
        }
        let transit = self.code.label();
        let path = self.settings.xdp_path;
        let asked = demand.has(Field::OutDevice) || demand.out_index;
        if path == XdpPath::Auto || (path == XdpPath::Forward && asked) {
            self.route(family.filter.family, transit);
        }
        if path != XdpPath::Forward {
            if family.filter.family == Family::V4 && has(Path::Local) {
                self.later_fragments_pass();
            }
            for stage in on(Path::Local) {
                self.stage(family.filter, stage);
            }
        }
        if path == XdpPath::Auto {
            self.code.jump(accepted);
        }
        if path != XdpPath::Input {
            self.code.bind(transit);
            if has(Path::Transit) {
                self.no_hop_left(family.filter.family);
            }
            self.out_device(&demand);
            self.count_hop(&demand);
            let mut routines = family.filter.routines();
            let in_frame = has(Path::Transit) && routines.any(|it| it.work().sees_hops());
            if in_frame {
                self.count_hop_in_frame(family.filter.family);
            }
            for stage in on(Path::Transit) {
                self.stage(family.filter, stage);
            }
            if in_frame {
                self.restore_hop(family.filter.family);
            }
        }
    }

    /// Gives the packet the state of its connection.
    fn track(&mut self, tracking: TrackingCalls) {
        self.code.line("track the connection");
        match tracking {
            TrackingCalls::LookUp { resolve, track, .. } => {
                self.question(resolve);
                self.tell(track, 0);
            }
            TrackingCalls::Recall(recall) => {
                self.tracking_arguments();
                self.code.call_function(recall);
            }
        }
    }

    /// Remembers the connection that an accepted packet begins.
    fn confirm(&mut self, tracking: TrackingCalls) {
        let TrackingCalls::LookUp {
            resolve,
            track,
            commits: true,
        } = tracking
        else {
            return;
        };
        self.code.line("remember a new connection");
        let unconfirmed = self.settings.frame.address(layout::UNCONFIRMED);
        self.code.load(Size::B, Reg::R1, Reg::R10, unconfirmed);
        self.code.branch(Cond::Eq, Reg::R1, 0, self.pass);
        // Others have used the scratch area since.
        self.question(resolve);
        self.tell(track, 1);
    }

    fn question(&mut self, resolve: FunctionId) {
        self.tracking_arguments();
        self.code.call_function(resolve);
    }

    fn tell(&mut self, track: FunctionId, commit: i32) {
        self.tracking_arguments();
        self.code.mov(Reg::R4, commit);
        self.code.call_function(track);
    }

    /// Context, packet and question; the question lies in the scratch area.
    fn tracking_arguments(&mut self) {
        let frame = self.settings.frame;
        self.code.mov(Reg::R1, CONTEXT);
        for (register, offset) in [(Reg::R2, 0), (Reg::R3, frame.scratch())] {
            self.code.mov(register, Reg::R10);
            let address = i32::from(frame.address(offset));
            self.code.alu(Alu::Add, register, address);
        }
    }

    /// Runs a stage; goes on behind it when the packet is accepted.
    fn stage(&mut self, filter: &FamilyFilter, stage: &CompiledStage<'_>) {
        let chain = &filter.chain(stage.plan.stage.chain).name;
        let table = stage.plan.stage.table;
        self.code.line(format!("*{table} {chain}"));
        let packet = i32::from(self.settings.frame.address(0));
        let point_to_packet = move |code: &mut Code, reg: Reg| {
            code.mov(reg, Reg::R10);
            code.alu(Alu::Add, reg, packet);
        };
        let code = &mut self.code;
        let hook = self.settings.frame.address(layout::NF_HOOK);
        let number = layout::nf_hook_number(stage.plan.stage.nf_hook);
        code.store(Size::B, Reg::R10, hook, i32::from(number));
        match (stage.turn, stage.functions.as_slice()) {
            (Some(turn), _) => {
                let context = self.settings.frame.address(Frame::CONTEXT);
                code.store(Size::D, Reg::R10, context, CONTEXT);
                let entry = self.settings.frame.address(layout::ENTRY);
                let first = Operand::Imm(FIRST_ENTRY as i32);
                code.store(Size::W, Reg::R10, entry, first);
                let turns = Operand::Imm(stage.plan.turns as i32);
                code.mov(Reg::R1, turns);
                code.load_imm64(Reg::R2, Imm64::Function(turn));
                point_to_packet(code, Reg::R3);
                code.mov(Reg::R4, 0);
                code.call(Helper::Loop);
                code.load(Size::W, Reg::R0, Reg::R10, entry);
            }
            (None, [only]) => {
                code.mov(Reg::R1, CONTEXT);
                point_to_packet(code, Reg::R2);
                code.call_function(*only);
            }
            (None, several) => {
                let first = Operand::Imm(FIRST_ENTRY as i32);
                code.mov(Reg::R7, first);
                call_in_turn(code, stage.plan, several, |code| {
                    code.mov(Reg::R1, CONTEXT);
                    point_to_packet(code, Reg::R2);
                });
                code.mov(Reg::R0, Reg::R7);
            }
        }
        // Whatever is no ACCEPT drops, also what the plan rules out.
        let accept = Operand::Imm(ACCEPT as i32);
        code.branch32(Cond::Ne, Reg::R0, accept, self.dropped);
    }

    /// Lets a function answer the sender of a dropped packet and give the result.
    fn answer(&mut self, answer: FunctionId) {
        self.code.bind(self.dropped);
        if let Some(access) = KernelAccess::of(self.settings.device_names) {
            self.parser().for_this_station(access);
        }
        self.code.line("answer the sender");
        self.code.mov(Reg::R1, CONTEXT);
        self.code.mov(Reg::R2, Reg::R10);
        let packet = i32::from(self.settings.frame.address(0));
        self.code.alu(Alu::Add, Reg::R2, packet);
        self.code.call_function(answer);
        self.code.exit();
    }

    /// Asks the kernel's routing: falls through for packets to this host, goes to `transit` for others,
    /// and leaves to the kernel what it will not forward. The lookup's answer stays in the scratch area.
    fn route(&mut self, family: Family, transit: Label) {
        let frame = self.settings.frame;
        let local = self.code.label();
        self.code.line("where routing sends the packet");
        if self.settings.xdp_path == XdpPath::Auto {
            self.multicast_is_local(family, local);
        }
        let at = |offset: i16| frame.address(frame.scratch() + offset);
        for offset in (0..fib::SIZE as i16).step_by(8) {
            self.code.store(Size::D, Reg::R10, at(offset), 0);
        }
        let number = match family {
            Family::V4 => fib::AF_INET,
            Family::V6 => fib::AF_INET6,
        };
        self.code.store(Size::B, Reg::R10, at(fib::FAMILY), number);
        self.code
            .load(Size::W, Reg::R1, CONTEXT, xdp::INGRESS_IFINDEX);
        self.code
            .store(Size::W, Reg::R10, at(fib::IFINDEX), Reg::R1);
        self.code.load(
            Size::B,
            Reg::R1,
            Reg::R10,
            frame.address(Field::TypeOfService.place().offset),
        );
        match family {
            Family::V4 => self.code.store(Size::B, Reg::R10, at(fib::TOS), Reg::R1),
            Family::V6 => {
                // The traffic class in the big-endian word of version, class and flow label.
                self.code.alu(Alu::Lsh, Reg::R1, 20);
                self.code.to_big_endian(Reg::R1, 32);
                self.code.store(Size::W, Reg::R10, at(fib::TOS), Reg::R1);
            }
        }
        let (source, destination) = match family {
            Family::V4 => (Field::Source4, Field::Destination4),
            Family::V6 => (Field::Source6, Field::Destination6),
        };
        let without_source = self.code.label();
        if family == Family::V6 {
            // The lookup calls nothing "forwarded" that has a link-local source; without one it answers
            // for the destination.
            let first = frame.address(source.place().offset);
            self.code.load(Size::H, Reg::R1, Reg::R10, first);
            self.code.to_big_endian(Reg::R1, 16);
            self.code.alu(Alu::And, Reg::R1, 0xffc0);
            self.code.branch(Cond::Eq, Reg::R1, 0xfe80, without_source);
        }
        self.address_to_lookup(source, fib::SOURCE);
        self.code.bind(without_source);
        self.address_to_lookup(destination, fib::DESTINATION);
        self.code.mov(Reg::R1, CONTEXT);
        self.code.mov(Reg::R2, Reg::R10);
        let params = i32::from(at(0));
        self.code.alu(Alu::Add, Reg::R2, params);
        self.code.mov(Reg::R3, fib::SIZE);
        self.code.mov(Reg::R4, 0);
        self.code.call(Helper::FibLookup);
        let mut on_result = |cond: Cond, result: i32, target: Label| {
            self.code.branch(cond, Reg::R0, result, target);
        };
        on_result(Cond::Slt, fib::SUCCESS, self.drop);
        on_result(Cond::Eq, fib::SUCCESS, transit);
        // Blackhole, unreachable, prohibit: the kernel drops or answers, and no chain sees it.
        on_result(Cond::Le, fib::PROHIBIT, self.pass);
        on_result(Cond::Eq, fib::NOT_FORWARDED, local);
        // No neighbour yet, larger than the MTU, tunnels: forwarded all the same.
        on_result(Cond::Ne, fib::FORWARDING_DISABLED, transit);
        self.code.bind(local);
    }

    /// Copies an address to an offset in the lookup's parameters.
    fn address_to_lookup(&mut self, field: Field, to: i16) {
        let frame = self.settings.frame;
        let place = field.place();
        for word in (0..i16::from(place.size)).step_by(4) {
            let from = frame.address(place.offset + word);
            let to = frame.address(frame.scratch() + to + word);
            self.code.load(Size::W, Reg::R1, Reg::R10, from);
            self.code.store(Size::W, Reg::R10, to, Reg::R1);
        }
    }

    /// Goes to `local` for multicast and IPv4's limited broadcast, which the lookup does not know: the
    /// latter is all ones, or no address on both sides (`ip_route_input_slow`, net/ipv4/route.c).
    fn multicast_is_local(&mut self, family: Family, local: Label) {
        let (field, mask, value) = match family {
            Family::V4 => (Field::Destination4, 0xf0, 0xe0),
            Family::V6 => (Field::Destination6, 0xff, 0xff),
        };
        let address = self.settings.frame.address(field.place().offset);
        self.code.load(Size::B, Reg::R1, Reg::R10, address);
        self.code.alu(Alu::And, Reg::R1, mask);
        self.code.branch(Cond::Eq, Reg::R1, value, local);
        if family == Family::V4 {
            self.code.load(Size::W, Reg::R1, Reg::R10, address);
            self.code.branch32(Cond::Eq, Reg::R1, -1, local);
            let source = self.settings.frame.address(Field::Source4.place().offset);
            self.code.load(Size::W, Reg::R2, Reg::R10, source);
            self.code.alu32(Alu::Or, Reg::R1, Reg::R2);
            self.code.branch32(Cond::Eq, Reg::R1, 0, local);
        }
    }

    /// netfilter's INPUT sees the reassembled datagram: the first fragment decides here for all.
    fn later_fragments_pass(&mut self) {
        let offset = self
            .settings
            .frame
            .address(Field::FragmentOffset.place().offset);
        self.code.line("later fragments follow the first");
        self.code.load(Size::H, Reg::R1, Reg::R10, offset);
        self.code.branch(Cond::Ne, Reg::R1, 0, self.pass);
    }

    /// The interface that routing chose: its index, and its name where rules ask for it.
    fn out_device(&mut self, demand: &Demand) {
        let frame = self.settings.frame;
        if demand.out_index {
            let chosen = frame.address(frame.scratch() + fib::IFINDEX);
            let index = frame.address(layout::OUT_INDEX);
            self.code.load(Size::W, Reg::R1, Reg::R10, chosen);
            self.code.store(Size::W, Reg::R10, index, Reg::R1);
        }
        if let Some(devices) = self
            .settings
            .devices
            .filter(|_| demand.has(Field::OutDevice))
        {
            self.code.line("the name of the leaving interface");
            let index = frame.address(frame.scratch() + fib::IFINDEX);
            self.code.load(Size::W, Reg::R1, Reg::R10, index);
            self.parser().device_from_table(Field::OutDevice, devices);
        }
    }

    /// Drops what goes to a group and has no hop left, if it had one; see [`hops::asked_behind`].
    fn group_needs_a_hop(&mut self) {
        let frame = self.settings.frame;
        let go_on = self.code.label();
        self.code.line("a group needs a hop");
        let hops = frame.address(Field::TimeToLive.place().offset);
        self.code.load(Size::B, Reg::R1, Reg::R10, hops);
        self.code.branch(Cond::Ne, Reg::R1, 0, go_on);
        let destination = frame.address(Field::Destination4.place().offset);
        self.code.load(Size::B, Reg::R1, Reg::R10, destination);
        self.code.alu(Alu::And, Reg::R1, 0xf0);
        self.code.branch(Cond::Ne, Reg::R1, 0xe0, go_on);
        let before = frame.address(frame.scratch());
        self.code.mov(Reg::R1, CONTEXT);
        self.code.mov(Reg::R2, i32::from(hop_limit(Family::V4)));
        self.code.mov(Reg::R3, Reg::R10);
        self.code.alu(Alu::Add, Reg::R3, i32::from(before));
        self.code.mov(Reg::R4, 1);
        self.code.call(Helper::SkbLoadBytes);
        self.code.branch(Cond::Ne, Reg::R0, 0, self.drop);
        self.code.load(Size::B, Reg::R1, Reg::R10, before);
        self.code.branch(Cond::Ne, Reg::R1, 0, self.drop);
        self.code.bind(go_on);
    }

    /// The kernel has counted the hop before FORWARD's rules see the packet.
    fn count_hop(&mut self, demand: &Demand) {
        if demand.has(Field::TimeToLive) {
            let place = self
                .settings
                .frame
                .address(Field::TimeToLive.place().offset);
            self.code.line("one hop less");
            self.code.load(Size::B, Reg::R1, Reg::R10, place);
            self.code.alu(Alu::Sub, Reg::R1, 1);
            self.code.store(Size::B, Reg::R10, place, Reg::R1);
        }
    }

    /// The kernel forwards no packet with its last hop, and tells the sender so; no chain sees it
    /// (`ip_forward`, net/ipv4/ip_forward.c; `ip6_forward`, net/ipv6/ip6_output.c).
    fn no_hop_left(&mut self, family: Family) {
        self.code.line("no hop left");
        self.ip_header();
        let hops = Reg::R2;
        self.code.load(Size::B, hops, Reg::R1, hop_limit(family));
        self.code.branch(Cond::Le, hops, 1, self.pass);
    }

    /// Routines that look at the IP header see it as the kernel has changed it: `ip_decrease_ttl`
    /// (include/net/ip.h). The kernel will do it itself, so it is undone for packets that pass.
    fn count_hop_in_frame(&mut self, family: Family) {
        self.code.line("one hop less in the frame");
        self.ip_header();
        let (header, value) = (Reg::R1, Reg::R2);
        let code = &mut self.code;
        code.load(Size::B, value, header, hop_limit(family));
        code.alu(Alu::Sub, value, 1);
        code.store(Size::B, header, hop_limit(family), value);
        if family == Family::V4 {
            // The high byte comes first: a hop is 1 to a little-endian load.
            let small = code.label();
            code.load(Size::H, value, header, CHECKSUM);
            code.alu(Alu::Add, value, 1);
            code.branch(Cond::Lt, value, 0xffff, small);
            code.alu(Alu::Add, value, 1);
            code.bind(small);
            code.store(Size::H, header, CHECKSUM, value);
        }
    }

    /// Undoes it. A rule may have set the most that there is: then the kernel takes one of these.
    fn restore_hop(&mut self, family: Family) {
        self.code.line("the hop back");
        self.ip_header();
        let (header, value) = (Reg::R1, Reg::R2);
        let code = &mut self.code;
        let most = code.label();
        code.load(Size::B, value, header, hop_limit(family));
        code.branch(Cond::Eq, value, 255, most);
        code.alu(Alu::Add, value, 1);
        code.store(Size::B, header, hop_limit(family), value);
        if family == Family::V4 {
            // All ones and zero are the same sum; the kernel makes zero of what is one less.
            let more = code.label();
            code.load(Size::H, value, header, CHECKSUM);
            code.alu(Alu::Sub, value, 1);
            code.branch(Cond::Sge, value, 0, more);
            code.mov(value, 0xfffe);
            code.bind(more);
            code.store(Size::H, header, CHECKSUM, value);
        }
        code.bind(most);
    }

    /// R1 = the IP header in the frame, of which 20 bytes are there.
    fn ip_header(&mut self) {
        let place = self.settings.frame.address(layout::IP_HEADER);
        let code = &mut self.code;
        code.load(Size::W, Reg::R1, CONTEXT, xdp::DATA);
        code.load(Size::B, Reg::R2, Reg::R10, place);
        code.alu(Alu::Add, Reg::R1, Reg::R2);
        code.load(Size::W, Reg::R3, CONTEXT, xdp::DATA_END);
        code.mov(Reg::R2, Reg::R1);
        code.alu(Alu::Add, Reg::R2, 20);
        code.branch(Cond::Gt, Reg::R2, Reg::R3, self.drop);
    }

    fn leave(&mut self, value: i32) {
        self.code.mov(Reg::R0, value);
        self.code.exit();
    }
}

const _: () = assert!(DROP < FIRST_ENTRY && ACCEPT < FIRST_ENTRY);
