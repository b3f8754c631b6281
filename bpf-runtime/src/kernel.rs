//! What the running kernel offers.

use std::fs;

use ipt2bpf_codegen::options::DeviceAccess;

use crate::btf::Btf;

/// The type information of the running kernel, where it is built with CONFIG_DEBUG_INFO_BTF.
const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Where this kernel keeps the device of a packet; `None` before Linux 6.2, or without type information.
pub fn device_access() -> Option<DeviceAccess> {
    let bytes = fs::read(VMLINUX_BTF).ok()?;
    let btf = Btf::parse(&bytes)?;
    Some(DeviceAccess {
        cast_to_kern_ctx: btf.function("bpf_cast_to_kern_ctx")?,
        skb_dev: btf.field_offset("sk_buff", "dev")?,
        xdp_rxq: btf.field_offset("xdp_buff", "rxq")?,
        rxq_dev: btf.field_offset("xdp_rxq_info", "dev")?,
        device_name: btf.field_offset("net_device", "name")?,
    })
}
