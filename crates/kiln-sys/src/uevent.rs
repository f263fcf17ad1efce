//! The kernel's announcements of devices (uevents), straight from its netlink socket.
//!
//! Format: lib/kobject_uevent.c: `action@path`, then `KEY=value` fields, each closed by a NUL.
//! libudev was dropped: there is no udevd yet when this is needed, and its messages have another
//! form (they start with `libudev` and fail the parser here).

use crate::Error;
use crate::error::failed;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Netlink group of the kernel's own messages; 2 is udevd's.
const KERNEL_GROUP: u32 = 1;
/// `UEVENT_BUFFER_SIZE`, linux/kobject.h, with room for the header.
const MESSAGE_MAXIMUM: usize = 8 * 1024;
/// Receive buffer in bytes: a machine with thousands of disks announces them faster than they are
/// read. systemd-udevd uses the same order of magnitude.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

/// One announcement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `add`, `change`, `remove`, …
    pub action: String,
    /// `block`, `pci`, …
    pub subsystem: String,
    /// What to load for it, if the bus knows.
    pub modalias: Option<String>,
    /// Node below `/dev`, if it has one.
    pub device_name: Option<String>,
}

/// Reads one message; `None` for anything that is not of the kernel's form.
#[must_use]
pub fn parse(message: &[u8]) -> Option<Event> {
    let text = std::str::from_utf8(message).ok()?;
    let mut fields = text.split('\0');
    let (action, path) = fields.next()?.split_once('@')?;
    if action.is_empty() || !path.starts_with('/') {
        return None;
    }
    let mut event = Event { action: action.to_owned(), ..Event::default() };
    for field in fields {
        match field.split_once('=') {
            Some(("SUBSYSTEM", value)) => event.subsystem = value.to_owned(),
            Some(("MODALIAS", value)) => event.modalias = Some(value.to_owned()),
            Some(("DEVNAME", value)) => event.device_name = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(event)
}

/// The listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

/// What waiting brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// One announcement.
    Event(Event),
    /// Announcements were lost or unreadable: look at everything again.
    Lost,
    /// The time passed.
    Nothing,
}

impl Listener {
    /// Starts listening. Must happen before the first look at `/sys`, or devices that appear in
    /// between are missed.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn open() -> Result<Self, Error> {
        let call = || failed("netlink uevent socket", "the kernel");
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::KOBJECT_UEVENT),
        )
        .map_err(call())?;
        // A smaller buffer only makes `Lost` more likely, which is handled.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        let address = netlink::SocketAddrNetlink::new(0, KERNEL_GROUP);
        rustix::net::bind(&socket, &address).map_err(call())?;
        Ok(Self { socket })
    }

    /// Waits for the next announcement, at most `patience`.
    ///
    /// # Errors
    /// The kernel's answer, other than interruptions and lost messages.
    pub fn wait(&self, patience: Duration) -> Result<Heard, Error> {
        let time = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&time)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Heard::Nothing),
            Ok(_) => {}
            Err(error) => return Err(failed("poll", "the uevent socket")(error)),
        }
        let mut buffer = [0_u8; MESSAGE_MAXIMUM];
        match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, length)) => {
                Ok(buffer.get(..length).and_then(parse).map_or(Heard::Lost, Heard::Event))
            }
            Err(rustix::io::Errno::NOBUFS) => Ok(Heard::Lost),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(Heard::Nothing),
            Err(error) => Err(failed("recv", "the uevent socket")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_form_is_read_and_others_are_not() {
        let message = b"add@/devices/pci/x\0ACTION=add\0SUBSYSTEM=pci\0MODALIAS=pci:v1\0SEQNUM=3\0";
        let event = parse(message).unwrap();
        assert_eq!(event.action, "add");
        assert_eq!(event.subsystem, "pci");
        assert_eq!(event.modalias.as_deref(), Some("pci:v1"));
        assert_eq!(event.device_name, None);
        for message in [&b"libudev\0x"[..], b"", b"@/devices", b"add@devices", b"\xff@/x"] {
            assert_eq!(parse(message), None, "{message:?}");
        }
    }
}
