//! Symbolic BPF: one typed constructor per instruction, labels until the last moment.
//!
//! The instruction set is that of the kernel's `Documentation/bpf/standardization/instruction-set.rst`,
//! restricted to what kernel 5.10 accepts. Immediates are sign-extended by 64-bit operations, so
//! comparisons of unsigned 32-bit values belong in [`Width::W32`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// A machine register. R0 holds results, R1 to R5 arguments (lost in calls), R6 to R9 survive calls,
/// R10 is the read-only frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// The width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    D,
}

/// Whether an operation looks at 32 or 64 bits; a 32-bit result is zero-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Width {
    W32,
    W64,
}

/// An arithmetic operation; the value is its code in the opcode's high nibble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
    Arsh = 0xc0,
}

/// A condition of a branch; the value is its code in the opcode's high nibble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Cond {
    /// Equal.
    Eq = 0x10,
    /// Unsigned greater.
    Gt = 0x20,
    /// Unsigned greater or equal.
    Ge = 0x30,
    /// Some common bit set.
    Set = 0x40,
    /// Not equal.
    Ne = 0x50,
    /// Signed greater.
    Sgt = 0x60,
    /// Signed greater or equal.
    Sge = 0x70,
    /// Unsigned less.
    Lt = 0xa0,
    /// Unsigned less or equal.
    Le = 0xb0,
    /// Signed less.
    Slt = 0xc0,
    /// Signed less or equal.
    Sle = 0xd0,
}

/// The second operand of an arithmetic operation, a store or a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// A constant, sign-extended to 64 bits.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Operand::Reg(reg)
    }
}
impl From<i32> for Operand {
    fn from(imm: i32) -> Self {
        Operand::Imm(imm)
    }
}

/// A place in a function, bound by [`Op::Label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Label(pub u32);

/// A map of the module, by index into [`Module::maps`](crate::module::Module::maps).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MapId(pub u16);

/// A function of the module, by index into [`Module::functions`](crate::module::Module::functions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionId(pub u16);

impl FunctionId {
    /// No module has so many functions: an object that calls it is not written.
    pub const NONE: FunctionId = FunctionId(u16::MAX);
}

/// Makes the enumeration of helpers from their table.
macro_rules! helpers {
    ($($helper:ident = $number:literal $name:literal,)*) => {
        /// The helper functions we call, by their number in `enum bpf_func_id`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(i32)]
        #[allow(missing_docs)]
        pub enum Helper {
            $($helper = $number,)*
        }

        impl Helper {
            /// The name in the kernel, after `bpf_`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Helper::$helper => $name,)*
                }
            }
        }
    };
}

helpers! {
    MapLookupElem = 1 "map_lookup_elem",
    MapUpdateElem = 2 "map_update_elem",
    MapDeleteElem = 3 "map_delete_elem",
    KtimeGetNs = 5 "ktime_get_ns",
    GetPrandomU32 = 7 "get_prandom_u32",
    GetSmpProcessorId = 8 "get_smp_processor_id",
    TailCall = 12 "tail_call",
    SkbLoadBytes = 26 "skb_load_bytes",
    CsumDiff = 28 "csum_diff",
    XdpAdjustHead = 44 "xdp_adjust_head",
    XdpAdjustTail = 65 "xdp_adjust_tail",
    SkbLoadBytesRelative = 68 "skb_load_bytes_relative",
    FibLookup = 69 "fib_lookup",
    SkbAncestorCgroupId = 83 "skb_ancestor_cgroup_id",
    SkLookupTcp = 84 "sk_lookup_tcp",
    SkLookupUdp = 85 "sk_lookup_udp",
    SkRelease = 86 "sk_release",
    SpinLock = 93 "spin_lock",
    SpinUnlock = 94 "spin_unlock",
    SkcLookupTcp = 99 "skc_lookup_tcp",
    ProbeReadKernel = 113 "probe_read_kernel",
    Jiffies64 = 118 "jiffies64",
    KtimeGetBootNs = 125 "ktime_get_boot_ns",
    RingbufOutput = 130 "ringbuf_output",
    ForEachMapElem = 164 "for_each_map_elem",
    RingbufReserve = 131 "ringbuf_reserve",
    RingbufSubmit = 132 "ringbuf_submit",
    Loop = 181 "loop",
    KtimeGetTaiNs = 208 "ktime_get_tai_ns",
}

/// A kernel function, by its id in the BTF of the running kernel. Code that holds one is for that kernel
/// only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KfuncId(pub u32);

/// A kernel function by its name. A loader finds its id in the BTF of the kernel that it loads into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Extern {
    /// `void *bpf_cast_to_kern_ctx(void *)`: the structure behind the context of a program, a
    /// `struct sk_buff` or a `struct xdp_buff` (`kernel/bpf/helpers.c`, 6.2 and later).
    CastToKernCtx,
    /// `struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *, struct bpf_sock_tuple *, u32, struct bpf_ct_opts *,
    /// u32)`: a connection of the kernel's, to be released, or null (`net/netfilter/nf_conntrack_bpf.c`, 5.18
    /// and later).
    XdpCtLookup,
    /// `void bpf_ct_release(struct nf_conn *)`
    CtRelease,
}

impl Extern {
    /// All of them.
    pub const ALL: [Extern; 3] = [
        Extern::CastToKernCtx,
        Extern::XdpCtLookup,
        Extern::CtRelease,
    ];

    /// The name in the kernel.
    pub fn name(self) -> &'static str {
        match self {
            Extern::CastToKernCtx => "bpf_cast_to_kern_ctx",
            Extern::XdpCtLookup => "bpf_xdp_ct_lookup",
            Extern::CtRelease => "bpf_ct_release",
        }
    }

    /// Whether some kernels are built without it.
    pub fn is_optional(self) -> bool {
        self != Extern::CastToKernCtx
    }
}

/// Makes the enumeration of fields from their table.
macro_rules! kernel_fields {
    ($($(#[$meaning:meta])* $field:ident = $structure:literal $member:literal $kind:expr,)*) => {
        /// A field of a structure of the kernel. A loader finds its offset in the BTF of the kernel that it
        /// loads into.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum KernelField {
            $($(#[$meaning])* $field,)*
        }

        impl KernelField {
            /// All of them.
            pub const ALL: [KernelField; [$($structure),*].len()] = [$(KernelField::$field),*];

            /// The name of the structure.
            pub fn structure(self) -> &'static str {
                match self {
                    $(KernelField::$field => $structure,)*
                }
            }

            /// The name of the field in the structure.
            pub fn member(self) -> &'static str {
                match self {
                    $(KernelField::$field => $member,)*
                }
            }

            /// Its type, as far as loaders compare it.
            pub fn kind(self) -> KernelType {
                match self {
                    $(KernelField::$field => $kind,)*
                }
            }
        }
    };
}

/// The type of a field of the kernel. Loaders look neither behind pointers nor into structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelType {
    /// A pointer to anything.
    Pointer,
    /// An unsigned number of so many bytes.
    Unsigned(u8),
    /// `int`
    Int,
    /// So many `char`.
    Text(u32),
    /// A structure or a union.
    Structure,
    /// An array of structures.
    Structures,
}

kernel_fields! {
    /// `struct net_device *sk_buff.dev`
    SkbDevice = "sk_buff" "dev" KernelType::Pointer,
    /// `__u16 sk_buff.mac_header`
    SkbMacHeader = "sk_buff" "mac_header" KernelType::Unsigned(2),
    /// `__u16 sk_buff.network_header`
    SkbNetworkHeader = "sk_buff" "network_header" KernelType::Unsigned(2),
    /// `unsigned long sk_buff._skb_refdst`
    SkbRoute = "sk_buff" "_skb_refdst" KernelType::Unsigned(8),
    /// `struct sock *sk_buff.sk`
    SkbSocket = "sk_buff" "sk" KernelType::Pointer,
    /// `unsigned char *sk_buff.head`
    SkbHead = "sk_buff" "head" KernelType::Pointer,
    /// `unsigned long sk_buff._nfct`: the address of a `struct nf_conn` with an `enum ip_conntrack_info` in
    /// its lowest three bits.
    SkbConntrack = "sk_buff" "_nfct" KernelType::Unsigned(8),
    /// `possible_net_t net_device.nd_net`
    DeviceNet = "net_device" "nd_net" KernelType::Structure,
    /// `u32 nf_conn.timeout`: the tick at which it is forgotten, once it is confirmed.
    ConnTimeout = "nf_conn" "timeout" KernelType::Unsigned(4),
    /// `struct nf_conntrack_tuple_hash nf_conn.tuplehash[IP_CT_DIR_MAX]`
    ConnTuples = "nf_conn" "tuplehash" KernelType::Structures,
    /// `struct nf_conntrack_tuple nf_conntrack_tuple_hash.tuple`
    HashTuple = "nf_conntrack_tuple_hash" "tuple" KernelType::Structure,
    /// `unsigned long nf_conn.status`
    ConnStatus = "nf_conn" "status" KernelType::Unsigned(8),
    /// `u_int32_t nf_conn.mark`
    ConnMark = "nf_conn" "mark" KernelType::Unsigned(4),
    /// `union nf_conntrack_proto nf_conn.proto`, which begins with a `struct ip_ct_tcp` for TCP.
    ConnProtocol = "nf_conn" "proto" KernelType::Structure,
    /// `struct ip_ct_tcp_state ip_ct_tcp.seen[2]`
    TcpSeen = "ip_ct_tcp" "seen" KernelType::Structures,
    /// `u_int8_t ip_ct_tcp.state`, with all that is behind it.
    TcpState = "ip_ct_tcp" "state" KernelType::Unsigned(1),
    /// `struct xdp_rxq_info *xdp_buff.rxq`
    XdpQueue = "xdp_buff" "rxq" KernelType::Pointer,
    /// `struct net_device *xdp_rxq_info.dev`
    QueueDevice = "xdp_rxq_info" "dev" KernelType::Pointer,
    /// `char net_device.name[IFNAMSIZ]`
    DeviceName = "net_device" "name" KernelType::Text(16),
    /// `unsigned short net_device.type`
    DeviceType = "net_device" "type" KernelType::Unsigned(2),
    /// `int net_device.group`
    DeviceGroup = "net_device" "group" KernelType::Int,
    /// `const unsigned char *net_device.dev_addr`
    DeviceAddress = "net_device" "dev_addr" KernelType::Pointer,
    /// `__u32 dst_entry.tclassid`
    RouteRealm = "dst_entry" "tclassid" KernelType::Unsigned(4),
    /// `unsigned char sock_common.skc_state`; every `struct sock` begins with its `struct sock_common`.
    SockState = "sock_common" "skc_state" KernelType::Unsigned(1),
    /// `struct socket *sock.sk_socket`
    SockSocket = "sock" "sk_socket" KernelType::Pointer,
    /// `struct sock_cgroup_data sock.sk_cgrp_data`
    SockGroups = "sock" "sk_cgrp_data" KernelType::Structure,
    /// `u32 sock_cgroup_data.classid`; not in kernels without CONFIG_CGROUP_NET_CLASSID.
    GroupsClass = "sock_cgroup_data" "classid" KernelType::Unsigned(4),
    /// `struct file *socket.file`
    SocketFile = "socket" "file" KernelType::Pointer,
    /// `struct cred *file.f_cred`
    FileCredentials = "file" "f_cred" KernelType::Pointer,
    /// `kuid_t cred.fsuid`
    CredentialsUser = "cred" "fsuid" KernelType::Structure,
    /// `kgid_t cred.fsgid`
    CredentialsGroup = "cred" "fsgid" KernelType::Structure,
    /// `struct group_info *cred.group_info`
    CredentialsGroups = "cred" "group_info" KernelType::Pointer,
    /// `int group_info.ngroups`
    GroupsCount = "group_info" "ngroups" KernelType::Int,
    /// `kgid_t group_info.gid[]`, in rising order.
    GroupsList = "group_info" "gid" KernelType::Structures,
}

impl KernelField {
    /// Whether some kernels are built without it.
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            KernelField::GroupsClass
                | KernelField::SkbConntrack
                | KernelField::ConnTimeout
                | KernelField::ConnTuples
                | KernelField::HashTuple
                | KernelField::ConnStatus
                | KernelField::ConnMark
                | KernelField::ConnProtocol
                | KernelField::TcpSeen
                | KernelField::TcpState
        )
    }
}

/// What a 64-bit immediate load puts into its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Imm64 {
    /// A number.
    Number(u64),
    /// The address of a map, for helpers.
    Map(MapId),
    /// The address of a byte in the only value of an array map (`.rodata` and its like).
    MapValue(MapId, u32),
    /// A function, for helpers that call back.
    Function(FunctionId),
}

/// One instruction, or a mark between instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// `dst = dst op src`
    Alu(Width, Alu, Reg, Operand),
    /// `dst = -dst`
    Neg(Width, Reg),
    /// `dst = big-endian(dst)` of the low 16, 32 or 64 bits, the rest zero.
    ToBigEndian(Reg, u8),
    /// `dst = *(size *)(base + offset)`, zero-extended
    Load(Size, Reg, Reg, i16),
    /// `dst = base->field`, a pointer
    LoadField(Reg, Reg, KernelField),
    /// `dst += offsetof(field)`
    AddOffset(Reg, KernelField),
    /// `*(size *)(base + offset) = src`
    Store(Size, Reg, i16, Operand),
    /// `lock *(u64 *)(base + offset) += src`
    AtomicAdd(Reg, i16, Reg),
    /// `dst = imm64`, two slots
    LoadImm64(Reg, Imm64),
    /// `goto label`
    Jump(Label),
    /// `if dst cond src goto label`
    Branch(Width, Cond, Reg, Operand, Label),
    /// `r0 = helper(r1, ..., r5)`
    CallHelper(Helper),
    /// `r0 = function(r1, ..., r5)`
    CallFunction(FunctionId),
    /// `r0 = kfunc(r1, ..., r5)`
    CallKfunc(KfuncId),
    /// `r0 = extern(r1, ..., r5)`
    CallExtern(Extern),
    /// Return R0.
    Exit,
    /// Binds a label to the next instruction.
    Label(Label),
}

/// The symbolic code of one function while it is written.
#[derive(Clone, Debug, Default)]
pub struct Code {
    ops: Vec<Op>,
    /// (index into ops, index into lines)
    marks: Vec<(u32, u32)>,
    lines: Vec<String>,
    labels: u32,
}

/// The text that stands above a run of instructions in dumps, with the first operation it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineMark<'a> {
    /// Index into [`Code::ops`].
    pub op: usize,
    /// A rule in iptables' words, or what the compiler does there.
    pub text: &'a str,
}

impl Code {
    /// Appends one operation.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// `dst = src`, 64 bits
    pub fn mov(&mut self, dst: Reg, src: impl Into<Operand>) {
        self.alu(Alu::Mov, dst, src);
    }

    /// `dst = dst op src`, 64 bits
    pub fn alu(&mut self, op: Alu, dst: Reg, src: impl Into<Operand>) {
        self.push(Op::Alu(Width::W64, op, dst, src.into()));
    }

    /// `dst = dst op src`, 32 bits
    pub fn alu32(&mut self, op: Alu, dst: Reg, src: impl Into<Operand>) {
        self.push(Op::Alu(Width::W32, op, dst, src.into()));
    }

    /// `dst = big-endian(dst)` of so many low bits
    pub fn to_big_endian(&mut self, dst: Reg, bits: u8) {
        self.push(Op::ToBigEndian(dst, bits));
    }

    /// `dst = *(size *)(base + offset)`
    pub fn load(&mut self, size: Size, dst: Reg, base: Reg, offset: i16) {
        self.push(Op::Load(size, dst, base, offset));
    }

    /// `dst = base->field`, a pointer
    pub fn load_field(&mut self, dst: Reg, base: Reg, field: KernelField) {
        self.push(Op::LoadField(dst, base, field));
    }

    /// `dst += offsetof(field)`
    pub fn add_offset(&mut self, dst: Reg, field: KernelField) {
        self.push(Op::AddOffset(dst, field));
    }

    /// `*(size *)(base + offset) = src`
    pub fn store(&mut self, size: Size, base: Reg, offset: i16, src: impl Into<Operand>) {
        self.push(Op::Store(size, base, offset, src.into()));
    }

    /// `lock *(u64 *)(base + offset) += src`
    pub fn atomic_add(&mut self, base: Reg, offset: i16, src: Reg) {
        self.push(Op::AtomicAdd(base, offset, src));
    }

    /// `dst = imm64`
    pub fn load_imm64(&mut self, dst: Reg, value: Imm64) {
        self.push(Op::LoadImm64(dst, value));
    }

    /// `goto target`
    pub fn jump(&mut self, target: Label) {
        self.push(Op::Jump(target));
    }

    /// `if left cond right goto target`, 64 bits
    pub fn branch(&mut self, cond: Cond, left: Reg, right: impl Into<Operand>, target: Label) {
        self.push(Op::Branch(Width::W64, cond, left, right.into(), target));
    }

    /// `if left cond right goto target`, 32 bits
    pub fn branch32(&mut self, cond: Cond, left: Reg, right: impl Into<Operand>, target: Label) {
        self.push(Op::Branch(Width::W32, cond, left, right.into(), target));
    }

    /// `r0 = helper(r1, ..., r5)`
    pub fn call(&mut self, helper: Helper) {
        self.push(Op::CallHelper(helper));
    }

    /// `r0 = function(r1, ..., r5)`
    pub fn call_function(&mut self, function: FunctionId) {
        self.push(Op::CallFunction(function));
    }

    /// `r0 = kfunc(r1, ..., r5)`
    pub fn call_kfunc(&mut self, kfunc: KfuncId) {
        self.push(Op::CallKfunc(kfunc));
    }

    /// `r0 = extern(r1, ..., r5)`
    pub fn call_extern(&mut self, function: Extern) {
        self.push(Op::CallExtern(function));
    }

    /// Return R0.
    pub fn exit(&mut self) {
        self.push(Op::Exit);
    }

    /// A label that is not bound yet.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// Binds a label here.
    pub fn bind(&mut self, label: Label) {
        self.push(Op::Label(label));
    }

    /// What follows belongs to this text, until the next call.
    pub fn line(&mut self, text: impl Into<String>) {
        self.marks
            .push((self.ops.len() as u32, self.lines.len() as u32));
        self.lines.push(text.into());
    }

    /// All operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The texts with the operations they begin at, in order.
    pub fn lines(&self) -> impl Iterator<Item = LineMark<'_>> {
        self.marks.iter().map(|&(op, line)| LineMark {
            op: op as usize,
            text: &self.lines[line as usize],
        })
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", *self as u8)
    }
}
