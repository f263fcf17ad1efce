//! `tftp://`: a small client of RFC 1350 with the options of RFC 2347, 2348 and 2349.
//!
//! Decisions are in [`Transfer`], which takes packets and gives packets and so is tested without a network;
//! [`Client`] only waits and sends. Whoever answers first is the server; packets of others are not looked at.
//! Everything is bounded: size, silence, stray packets, and the time in all. A crate was dropped: those there
//! are either write to files or have no bound on what a server may send.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use kiln_config::ignition::url;

use super::address;
use crate::Error;

/// Where servers listen (RFC 1350, section 4).
const PORT: u16 = 69;
/// Bytes of a block that are asked for: with the headers they fit into one Ethernet frame (RFC 2348).
const WANTED_BLOCK: usize = 1428;
/// Bytes of a block where the server knows no options (RFC 1350, section 2).
const USUAL_BLOCK: usize = 512;
/// Packets of others or of other blocks that are passed over; a flood of them is no transfer.
const STRAY_PACKETS: u32 = 10_000;

/// Operation codes (RFC 1350, section 5; RFC 2347).
const READ: u16 = 1;
const DATA: u16 = 3;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// For an answer before the last packet is sent again; doubled each time.
    wait: Duration,
    /// Times that a packet is sent.
    attempts: u32,
}

impl Default for Client {
    fn default() -> Self {
        Self { wait: Duration::from_millis(500), attempts: 6 }
    }
}

impl Client {
    /// Gets a file of at most `limit` bytes.
    pub(super) fn get(self, url: &str, limit: u64, deadline: Instant) -> Result<Vec<u8>, Error> {
        let refused = |reason: String| Error::Contents { origin: address(url), reason };
        let (server, path) = target(url).map_err(|reason| refused(reason.to_owned()))?;
        let failed =
            |error: std::io::Error| refused(format!("the server cannot be asked: {error}"));
        let server = server
            .to_socket_addrs()
            .map_err(failed)?
            .next()
            .ok_or_else(|| refused("its host has no address".to_owned()))?;
        let any: SocketAddr =
            if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).map_err(failed)?;
        let mut transfer = Transfer::new(limit);
        let mut last = request(&path);
        let mut peer = None;
        let mut buffer = [0_u8; 4 + WANTED_BLOCK + 1];
        let (mut silence, mut strays) = (0_u32, 0_u32);
        socket.send_to(&last, server).map_err(failed)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(refused("it takes too long".to_owned()));
            }
            let wait = self.wait.saturating_mul(2_u32.saturating_pow(silence)).min(left);
            socket.set_read_timeout(Some(wait)).map_err(failed)?;
            let (length, from) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if is_silence(&error) => {
                    silence += 1;
                    if silence >= self.attempts {
                        return Err(refused("the server does not answer".to_owned()));
                    }
                    socket.send_to(&last, peer.unwrap_or(server)).map_err(failed)?;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            // The server answers from a port of its own, which then is the transfer's (RFC 1350, section 4).
            let is_peer = match peer {
                Some(peer) => peer == from,
                None => from.ip() == server.ip(),
            };
            let step = if is_peer {
                transfer.take(buffer.get(..length).unwrap_or_default()).map_err(refused)?
            } else {
                Step::Stray
            };
            if is_peer {
                peer = Some(from);
            }
            match step {
                Step::Stray => {
                    strays += 1;
                    if strays > STRAY_PACKETS {
                        return Err(refused(
                            "the server sends packets that fit nothing".to_owned(),
                        ));
                    }
                }
                Step::Answer(packet) => {
                    (silence, last) = (0, packet);
                    socket.send_to(&last, from).map_err(failed)?;
                }
                Step::Finished(packet) => {
                    // Whether the last word arrives is of no matter here.
                    let _ = socket.send_to(&packet, from);
                    return Ok(transfer.bytes);
                }
            }
        }
    }
}

fn is_silence(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted | ConnectionRefused)
}

/// Host with port, and path (RFC 3617).
fn target(address: &str) -> Result<((String, u16), String), &'static str> {
    let (host, port) = url::host(address).ok_or("it has no host")?;
    let port = match port {
        Some(port) if !port.is_empty() => port.parse().map_err(|_| "its port is none")?,
        _ => PORT,
    };
    let rest = address.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    let path = rest.split_once('/').map(|(_, path)| path).unwrap_or_default();
    let path = path.split_once(";mode=").map_or(path, |(path, _)| path);
    if path.is_empty() || path.bytes().any(|byte| byte == 0) {
        return Err("it names no file");
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(((host, port), path.to_owned()))
}

/// A request to read, with all options (RFC 2347).
fn request(path: &str) -> Vec<u8> {
    let mut packet = READ.to_be_bytes().to_vec();
    let block = WANTED_BLOCK.to_string();
    for word in [path, "octet", "blksize", &block, "tsize", "0"] {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

/// What is to be done after a packet.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It belongs to nothing that is waited for.
    Stray,
    /// This is sent.
    Answer(Vec<u8>),
    /// This is sent, and all is there.
    Finished(Vec<u8>),
}

/// What has come of a file.
#[derive(Debug)]
struct Transfer {
    bytes: Vec<u8>,
    limit: u64,
    block_size: usize,
    /// Number of the block that is waited for; it wraps around in large files.
    next: u16,
    has_begun: bool,
}

impl Transfer {
    fn new(limit: u64) -> Self {
        Self { bytes: Vec::new(), limit, block_size: USUAL_BLOCK, next: 1, has_begun: false }
    }

    fn take(&mut self, packet: &[u8]) -> Result<Step, String> {
        let Some((code, rest)) = number(packet) else { return Ok(Step::Stray) };
        match code {
            OPTIONS if !self.has_begun => {
                self.agree(rest)?;
                Ok(Step::Answer(acknowledgement(0)))
            }
            DATA => match number(rest) {
                Some((block, data)) => self.block(block, data),
                None => Ok(Step::Stray),
            },
            ERROR => {
                let (code, text) = number(rest).unwrap_or((0, rest));
                let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                let text: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
                Err(format!("the server says: error {code} {text}"))
            }
            _ => Ok(Step::Stray),
        }
    }

    fn block(&mut self, block: u16, data: &[u8]) -> Result<Step, String> {
        if data.len() > self.block_size {
            return Err("the server sends larger blocks than were agreed on".to_owned());
        }
        if block == self.next.wrapping_sub(1) && self.has_begun {
            // It has not heard the last answer.
            return Ok(Step::Answer(acknowledgement(block)));
        }
        if block != self.next {
            return Ok(Step::Stray);
        }
        self.has_begun = true;
        let whole = self.bytes.len().saturating_add(data.len());
        if whole as u64 > self.limit {
            return Err(format!("they have more than {} bytes", self.limit));
        }
        self.bytes.extend_from_slice(data);
        self.next = self.next.wrapping_add(1);
        let answer = acknowledgement(block);
        let is_last = data.len() < self.block_size;
        Ok(if is_last { Step::Finished(answer) } else { Step::Answer(answer) })
    }

    /// Takes the options that the server agrees to (RFC 2347: pairs of words).
    fn agree(&mut self, options: &[u8]) -> Result<(), String> {
        let words: Vec<&[u8]> = options.split(|&byte| byte == 0).collect();
        for pair in words.chunks_exact(2) {
            let [name, value] = pair else { continue };
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let value = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
            match (name.as_str(), value) {
                ("blksize", Some(size)) if (8..=WANTED_BLOCK as u64).contains(&size) => {
                    self.block_size = usize::try_from(size).unwrap_or(USUAL_BLOCK);
                }
                ("tsize", Some(size)) if size <= self.limit => {}
                ("tsize", Some(_)) => {
                    return Err(format!("they have more than {} bytes", self.limit));
                }
                ("", _) => {}
                _ => return Err("the server agrees to what was not asked".to_owned()),
            }
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

fn acknowledgement(block: u16) -> Vec<u8> {
    [ACKNOWLEDGE.to_be_bytes(), block.to_be_bytes()].concat()
}

/// What comes of packets in their order, at most `limit` bytes; nothing where they end no transfer.
#[cfg(feature = "fuzzing")]
pub fn transfer(packets: &[&[u8]], limit: u64) -> Option<Vec<u8>> {
    let mut transfer = Transfer::new(limit);
    for packet in packets {
        if let Step::Finished(_) = transfer.take(packet).ok()? {
            return Some(transfer.bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests;
