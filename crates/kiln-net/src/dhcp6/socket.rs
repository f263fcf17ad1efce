//! The client's place on its link (RFC 8415, section 7): port 546 of the link's own address for the
//! wire, and the group of all servers.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};

const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// All servers and relays on the wire (section 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// A socket on one link.
#[derive(Debug)]
pub(crate) struct LinkSocket {
    socket: UdpSocket,
    link: u32,
}

impl LinkSocket {
    /// Opens it on a link, with its address for the wire.
    pub(crate) fn open(link: u32, own: Ipv6Addr) -> io::Result<Self> {
        // The number of the link makes it hear this one only.
        let socket = UdpSocket::bind(SocketAddrV6::new(own, CLIENT_PORT, 0, link))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, link })
    }

    /// Sends a message to all servers.
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, self.link);
        self.socket.send_to(message, to).map(drop)
    }

    /// The next message that has come, if there is one.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let length = self.socket.recv(buffer).ok()?;
        buffer.get(..length)
    }
}

impl std::os::fd::AsFd for LinkSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
