//! DHCP for IPv4 (RFC 2131, options of RFC 2132): asked for an address, and nothing more of the life
//! of a lease.
//!
//! There is no renewal, rebinding or probing for others with the same address: a boot fetches its
//! documents within minutes and then gives the address back. The kernel drops an address whose lease
//! has run out by itself, because it is told the lifetime.
//!
//! Packets travel over `AF_PACKET` ([`frame`]) and not over a UDP socket: a link without an
//! address receives no unicast over UDP, some servers ignore the broadcast flag, and a second link must not
//! hear the answers of the first.

pub mod client;
pub mod frame;
pub mod lease;
pub mod options;
mod pace;
pub mod packet;

pub(crate) use pace::Pace;
