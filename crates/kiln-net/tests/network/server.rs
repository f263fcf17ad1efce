//! A DHCP server that does what a test wants, also what none should do. It reads and writes bytes by
//! their places in RFC 2131 and shares nothing with the client but the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_sys::packet::PacketSocket;

use crate::namespace::index;

/// How the server behaves.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// The address that it offers.
    pub(crate) address: [u8; 4],
    /// Options behind its own address.
    pub(crate) options: Vec<u8>,
    /// Questions that it does not hear.
    pub(crate) deaf: usize,
    /// Requests that it refuses.
    pub(crate) refusals: usize,
    /// Whether it first sends what no client may believe.
    pub(crate) is_preceded_by_lies: bool,
}

impl Default for Manner {
    fn default() -> Self {
        let mut options = vec![1, 4, 255, 255, 255, 0, 3, 4, 192, 0, 2, 1];
        options.extend([6, 4, 192, 0, 2, 53, 51, 4, 0, 0, 14, 16, 26, 2, 5, 120]);
        options.extend(b"\x0f\x0bexample.com\x0c\x04edge");
        let address = [192, 0, 2, 9];
        Self { address, options, deaf: 0, refusals: 0, is_preceded_by_lies: false }
    }
}

/// A DHCP server on a link.
pub(crate) struct Server {
    heard: Receiver<u8>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(link: &str, mut manner: Manner) -> Self {
        let socket = PacketSocket::open(index(link), link).unwrap();
        let (tell, heard) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while !over.load(Ordering::Relaxed) {
                let Ok(Some((length, from))) = socket.receive(&mut buffer) else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let packet = &buffer[..length];
                // UDP to port 67 with a question of BOOTP in it.
                if length < 28 + 243 || packet[9] != 17 || packet[22..24] != [0, 67] {
                    continue;
                }
                let question = &packet[28..];
                assert_eq!(question[236..242], [99, 130, 83, 99, 53, 1], "no kind: {question:?}");
                assert_eq!(from, question[28..34], "another sender than it says");
                let kind = question[242];
                tell.send(kind).unwrap();
                if manner.deaf > 0 {
                    manner.deaf -= 1;
                    continue;
                }
                let answer = match kind {
                    1 => 2,
                    3 if manner.refusals > 0 => 6,
                    3 => 5,
                    _ => continue,
                };
                manner.refusals -= usize::from(answer == 6);
                if manner.is_preceded_by_lies {
                    for lie in lies(question, answer, &manner) {
                        socket.send(&lie, from).unwrap();
                    }
                }
                let message = message(question, answer, &manner);
                socket.send(&packet_of(&message), from).unwrap();
            }
        });
        Self { heard, is_over, thread: Some(thread) }
    }

    /// The kinds of the questions so far: 1 discover, 3 request, 7 release.
    pub(crate) fn heard(&self) -> Vec<u8> {
        // What was sent last is on its way.
        std::thread::sleep(Duration::from_millis(100));
        self.heard.try_iter().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking());
    }
}

fn message(question: &[u8], kind: u8, manner: &Manner) -> Vec<u8> {
    let mut message = question[..240].to_vec();
    message[0] = 2;
    message[16..20].copy_from_slice(&manner.address);
    message.extend([53, 1, kind, 54, 4, 192, 0, 2, 1]);
    message.extend(&manner.options);
    message.push(255);
    message
}

/// Answers for somebody else, from nobody, with lengths that lead out of them.
fn lies(question: &[u8], kind: u8, manner: &Manner) -> Vec<Vec<u8>> {
    let truth = message(question, kind, &Manner { address: [198, 51, 100, 66], ..manner.clone() });
    let changed = |place: usize| {
        let mut lie = truth.clone();
        lie[place] ^= 0xff;
        packet_of(&lie)
    };
    let mut lies: Vec<Vec<u8>> = [0, 1, 2, 4, 28, 236, 241, 242].map(changed).into();
    lies.push(packet_of(&truth[..241]));
    lies.push(vec![0x45; 20]);
    lies.push(Vec::from([0xff; 1400]));
    lies
}

/// The message from 192.0.2.1 to everybody, without a sum of UDP.
fn packet_of(message: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes + message.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255]);
    let words = packet.as_chunks::<2>().0.iter();
    let sum = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0, 67, 0, 68]);
    packet.extend(length(8));
    packet.extend([0, 0]);
    packet.extend(message);
    packet
}
