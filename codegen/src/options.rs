//! What the user of the compiler may choose.

/// How a program learns the name of a packet's interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceNames {
    /// From the map [`DEVICES_MAP`](crate::module::DEVICES_MAP), which a loader fills and keeps. A
    /// packet from an interface that the map does not hold is dropped by the first rule that asks.
    #[default]
    Table,
    /// From the kernel's own structures, always right, also after a rename.
    Kernel(DeviceAccess),
}

/// Where the running kernel keeps the device of a packet: a function id and byte offsets from its BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAccess {
    /// BTF id of the function `bpf_cast_to_kern_ctx`.
    pub cast_to_kern_ctx: u32,
    /// Offset of `dev` in `struct sk_buff`.
    pub skb_dev: u16,
    /// Offset of `rxq` in `struct xdp_buff`.
    pub xdp_rxq: u16,
    /// Offset of `dev` in `struct xdp_rxq_info`.
    pub rxq_dev: u16,
    /// Offset of `name` in `struct net_device`.
    pub device_name: u16,
}
