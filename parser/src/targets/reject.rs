//! `-j REJECT`: drop, and tell the sender (libipt_REJECT, libip6t_REJECT).

use serde::Serialize;

/// The `REJECT` target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// `--reject-with`
    pub with: RejectWith,
}

/// The answer that a rejected sender gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectWith {
    /// IPv4 `icmp-net-unreachable`
    IcmpNetUnreachable,
    /// IPv4 `icmp-host-unreachable`
    IcmpHostUnreachable,
    /// IPv4 `icmp-proto-unreachable`
    IcmpProtoUnreachable,
    /// IPv4 `icmp-port-unreachable`, its default
    IcmpPortUnreachable,
    /// IPv4 `icmp-net-prohibited`
    IcmpNetProhibited,
    /// IPv4 `icmp-host-prohibited`
    IcmpHostProhibited,
    /// IPv4 `icmp-admin-prohibited`
    IcmpAdminProhibited,
    /// Both families, `tcp-reset`, only with `-p tcp`
    TcpReset,
    /// IPv6 `icmp6-no-route`
    Icmp6NoRoute,
    /// IPv6 `icmp6-adm-prohibited`
    Icmp6AdmProhibited,
    /// IPv6 `icmp6-addr-unreachable`
    Icmp6AddrUnreachable,
    /// IPv6 `icmp6-port-unreachable`, its default
    Icmp6PortUnreachable,
    /// IPv6 `icmp6-policy-fail`
    Icmp6PolicyFail,
    /// IPv6 `icmp6-reject-route`
    Icmp6RejectRoute,
}
