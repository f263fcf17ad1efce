//! The socket: one request, its answer, nothing else under way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::answers;
use super::message::{DONE, ERROR, Message, Request, messages};

/// Bytes of the largest packet: the kernel's dumps fill at most 32 KiB (`NLMSG_GOODSIZE` and
/// `netlink_dump`, net/netlink/af_netlink.c).
const PACKET_MAXIMUM: usize = 64 << 10;
/// How long the kernel may take for an answer, which it gives at once; a driver that changes its
/// link may take a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Dumps that a change in their middle spoilt, tried again.
const TRIES: u32 = 5;
/// `NLM_F_DUMP_INTR` needs the flags of the header, which stand here.
const FLAGS_PLACE: usize = 6;
const SPOILT: u16 = 0x10;
/// Group of the options of router advertisements: `RTNLGRP_ND_USEROPT` is number 20.
const ADVERTISEMENTS: u32 = 1 << 19;
/// `RTM_NEWNDUSEROPT`.
const NEW_OPTION: u16 = 68;

/// A connection to the kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    number: u32,
    buffer: Vec<u8>,
}

fn open(groups: u32, flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

impl Netlink {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn open() -> io::Result<Self> {
        let socket = open(0, SocketFlags::empty())?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, number: 0, buffer: vec![0; PACKET_MAXIMUM] })
    }

    /// Has the kernel do something.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn change(&mut self, request: Request) -> io::Result<()> {
        self.exchange(request, &mut |_| {}).map(drop)
    }

    /// Has the kernel list something; `read` takes from each message what it understands.
    ///
    /// # Errors
    /// The kernel's answer, `EINTR` if the list changed each time while it was read.
    pub fn list<Item>(
        &mut self,
        request: &Request,
        read: impl Fn(&[u8]) -> Option<Item>,
    ) -> io::Result<Vec<Item>> {
        for _ in 0..TRIES {
            let mut items = Vec::new();
            let is_whole =
                self.exchange(request.clone(), &mut |message| items.extend(read(message.body)))?;
            if is_whole {
                return Ok(items);
            }
        }
        Err(Errno::INTR.into())
    }

    /// Sends a request and reads until it is answered. Whether nothing changed meanwhile.
    fn exchange(
        &mut self,
        request: Request,
        take: &mut dyn FnMut(&Message<'_>),
    ) -> io::Result<bool> {
        self.number = self.number.wrapping_add(1);
        let mut is_whole = true;
        retry(|| {
            rustix::net::send(
                &self.socket,
                &request.clone().finish(self.number),
                SendFlags::empty(),
            )
        })?;
        loop {
            let socket = &self.socket;
            let (_, length) =
                retry(|| rustix::net::recv(socket, &mut self.buffer[..], RecvFlags::TRUNC))?;
            let packet = self.buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            is_whole &= packet
                .get(FLAGS_PLACE..FLAGS_PLACE + 2)
                .and_then(|flags| <[u8; 2]>::try_from(flags).ok())
                .is_some_and(|flags| u16::from_ne_bytes(flags) & SPOILT == 0);
            // Answers to an earlier request whose reading was broken off are passed over.
            for message in messages(packet).filter(|message| message.number == self.number) {
                match message.kind {
                    DONE => return Ok(is_whole),
                    ERROR => {
                        return match answers::error(message.body) {
                            Some(0) => Ok(is_whole),
                            Some(number) => Err(io::Error::from_raw_os_error(number)),
                            None => Err(Errno::BADMSG.into()),
                        };
                    }
                    _ => take(&message),
                }
            }
        }
    }
}

/// Listens to what routers announce about names.
#[derive(Debug)]
pub struct Announcements {
    socket: OwnedFd,
}

impl Announcements {
    /// Starts listening. Must happen before links are switched on, or the first is missed.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: open(ADVERTISEMENTS, SocketFlags::NONBLOCK)? })
    }

    /// All that was announced since the last call; what was lost, routers announce again.
    #[must_use]
    pub fn heard(&self) -> Vec<answers::Names> {
        let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok((_, length)) =
            rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())
        {
            let packet = buffer.get(..length).unwrap_or_default();
            let options = messages(packet).filter(|message| message.kind == NEW_OPTION);
            heard.extend(options.filter_map(|message| answers::names(message.body)));
            if heard.len() > 64 {
                break;
            }
        }
        heard
    }
}

impl AsFd for Announcements {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Calls again what a signal interrupted.
fn retry<Value>(mut call: impl FnMut() -> Result<Value, Errno>) -> io::Result<Value> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            answer => return answer.map_err(io::Error::from),
        }
    }
}
