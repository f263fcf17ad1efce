//! DHCP for IPv6 (RFC 8415): one address, name servers, and the address given back.
//!
//! It is asked for by name only (`dhcp6`, `either6`). The router to everywhere is no matter of this
//! protocol: routers announce themselves, and the kernel listens. Questions travel over a UDP socket
//! of the link's own address for the wire, which every IPv6 link has, so nothing below IP is needed.
//! Without renewal, as for IPv4: a boot is shorter than a lease.

pub mod client;
pub mod packet;
pub(crate) mod socket;
