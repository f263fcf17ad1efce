//! The network of a machine before its own system sets one up: links, DHCP, and what the kernel
//! command line says (`ip=`), for documents that must be fetched before the system starts.
//!
//! [`up`] brings up as much as a download needs and [`Network::down`] takes all of it away again, so
//! that the system's own network finds links as the kernel made them. What to do is decided by pure
//! functions over values ([`Wishes`], the planned links, the DHCP client as a state machine without
//! clock or socket); what touches the kernel is dull.
//!
//! dhcproto was dropped: it brings a whole DNS library to read twelve options. netlink-packet-route
//! was dropped: it refuses messages whose attributes have grown with the kernel, which a program that
//! starts any kernel cannot afford, and reads hundreds of attributes where seven matter.
//! systemd-networkd of the image was dropped: not every image has it, and it would begin the machine's
//! real network too early.

pub mod arguments;
pub mod dhcp;
pub mod dhcp6;
mod error;
mod job;
mod kernel;
mod leases;
mod link;
mod modules;
pub mod netlink;
mod network;
mod plan;
mod resolver;
mod run;

pub use arguments::Wishes;
pub use error::Error;
pub use leases::{Leases, LinkLease, NameServer, is_host_name, resolv_conf};
pub use link::{Link, Mac, is_link_name};
pub use network::{Network, Options, up};
pub use resolver::Resolver;
