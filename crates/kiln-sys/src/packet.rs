//! A socket below IP (packet(7)): whole packets of IPv4 on one link, also while it has no address.
//!
//! A UDP socket bound to a device was dropped: without an address it hears broadcasts only, and
//! not every DHCP server broadcasts. The filter of the kernel (BPF) is not used: such a socket lives
//! for seconds, on links that have no other traffic yet.

use crate::Error;
use crate::error::failed;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `ETH_P_IP`, linux/if_ether.h, in the network's order of bytes, as the kernel wants it.
const IPV4: u16 = 0x0800_u16.to_be();
/// Bytes of an Ethernet address.
const MAC_BYTES: usize = 6;

/// The open socket.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    link: libc::c_int,
    name: String,
}

impl PacketSocket {
    /// Opens it on the link with this number; `name` is for messages.
    ///
    /// # Errors
    /// The kernel's answer: `EAFNOSUPPORT` where the module `af_packet` is missing.
    pub fn open(link: u32, name: &str) -> Result<Self, Error> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0: nothing is received before bind says on which link.
        // SAFETY: socket(2) touches no memory of this process.
        let descriptor = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if descriptor < 0 {
            return Err(failed("packet socket", name)(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let link = libc::c_int::try_from(link).map_err(|_| {
            failed("packet socket", name)(io::Error::from_raw_os_error(libc::ENODEV))
        })?;
        let socket = Self { socket, link, name: name.to_owned() };
        let address = socket.address([0; MAC_BYTES], 0);
        // SAFETY: the pointer is to a whole `sockaddr_ll` that lives during the call, and the length
        // is its size.
        let result = unsafe {
            libc::bind(
                socket.socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast::<libc::sockaddr>(),
                SIZE,
            )
        };
        if result < 0 { Err(socket.failed("bind")) } else { Ok(socket) }
    }

    /// Sends one packet to a hardware address.
    ///
    /// # Errors
    /// The kernel's answer: `ENETDOWN` while the link is off.
    pub fn send(&self, packet: &[u8], to: [u8; MAC_BYTES]) -> Result<(), Error> {
        let address = self.address(to, MAC_BYTES as u8);
        // SAFETY: both pointers are to memory that lives during the call, with its lengths.
        let result = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                std::ptr::from_ref(&address).cast::<libc::sockaddr>(),
                SIZE,
            )
        };
        if result < 0 { Err(self.failed("sendto")) } else { Ok(()) }
    }

    /// The next packet that has come, if there is one: how many bytes of `buffer` it fills, and the
    /// hardware address that sent it. A longer packet is cut.
    ///
    /// # Errors
    /// The kernel's answer: `ENETDOWN` when the link was switched off.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<(usize, [u8; MAC_BYTES])>, Error> {
        let mut address = self.address([0; MAC_BYTES], 0);
        let mut size = SIZE;
        // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer and at most `size`
        // into the address, of which every pattern of bytes is valid; both live during the call.
        let length = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                std::ptr::from_mut(&mut address).cast::<libc::sockaddr>(),
                &raw mut size,
            )
        };
        let Ok(length) = usize::try_from(length) else {
            return match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                error => Err(failed("recvfrom", &self.name)(error)),
            };
        };
        let mut from = [0; MAC_BYTES];
        for (byte, sent) in from.iter_mut().zip(address.sll_addr) {
            *byte = sent;
        }
        Ok(Some((length, from)))
    }

    fn address(&self, mac: [u8; MAC_BYTES], length: u8) -> libc::sockaddr_ll {
        let mut bytes = [0; 8];
        for (place, byte) in bytes.iter_mut().zip(mac) {
            *place = byte;
        }
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as libc::c_ushort,
            sll_protocol: IPV4,
            sll_ifindex: self.link,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: length,
            sll_addr: bytes,
        }
    }

    fn failed(&self, call: &'static str) -> Error {
        failed(call, &self.name)(io::Error::last_os_error())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Bytes of a `sockaddr_ll`: 20.
const SIZE: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_not_there_is_named() {
        let error = PacketSocket::open(u32::MAX, "eth9").unwrap_err();
        assert!(error.to_string().contains("eth9"), "{error}");
        let error = PacketSocket::open(2_000_000_000, "eth9").unwrap_err();
        // Without the right to open such sockets the kernel says so first.
        assert!(matches!(error.number(), Some(libc::ENODEV | libc::EPERM)), "{error:?}");
    }
}
