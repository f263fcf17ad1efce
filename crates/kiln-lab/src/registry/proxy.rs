//! A forward proxy for HTTP that tells whom it was asked for.
//!
//! It tunnels (`CONNECT`, RFC 9110 section 9.3.6) and nothing else, because tunnelling is what
//! clients do for TLS. It can know names that nobody else knows: a client that reaches such a name
//! has certainly come through here.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, file_error};

/// Longest request head, in bytes.
const HEAD_BYTES: u64 = 16 << 10;

/// A running proxy; it takes no new clients after it was dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct Shared {
    names: BTreeMap<String, SocketAddr>,
    /// The `Proxy-Authorization` that is wanted.
    login: Option<String>,
    targets: Mutex<Vec<String>>,
    is_ending: AtomicBool,
}

impl Proxy {
    /// Starts a proxy that knows `names` (each `host:port`) and all addresses; with a login, only
    /// for clients that show this `Proxy-Authorization`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(
        names: BTreeMap<String, SocketAddr>,
        login: Option<String>,
    ) -> Result<Self, Error> {
        let listening = file_error("listen on", Path::new("127.0.0.1"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(&listening)?;
        let address = listener.local_addr().map_err(&listening)?;
        let shared = Arc::new(Shared { names, login, ..Shared::default() });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if served.is_ending.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let served = Arc::clone(&served);
                // What a client or a target breaks off ends its own tunnel only.
                std::thread::spawn(move || served.tunnel(client));
            }
        });
        Ok(Self { shared, address })
    }

    /// `http://address:port`, as environment variables name proxies.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The targets asked for so far, each `host:port`.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        super::locked(&self.shared.targets).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for clients.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn tunnel(&self, client: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?).take(HEAD_BYTES);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let mut client = client;
        let target = head.first().and_then(|line| line.strip_prefix("CONNECT "));
        let target = target.and_then(|rest| rest.split(' ').next());
        let Some(target) = target else {
            return client.write_all(b"HTTP/1.1 501 Only tunnels\r\nContent-Length: 0\r\n\r\n");
        };
        let shown = head.iter().filter_map(|line| line.split_once(": "));
        let mut shown = shown.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"));
        if self.login.is_some() && shown.next().map(|(_, value)| value) != self.login.as_deref() {
            let refusal = b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=\"lab\"\r\n\
                            Content-Length: 0\r\n\r\n";
            return client.write_all(refusal);
        }
        super::locked(&self.targets).push(target.to_owned());
        let known = self.names.get(target).copied().or_else(|| target.parse().ok());
        let Some(server) = known.and_then(|address| TcpStream::connect(address).ok()) else {
            return client.write_all(b"HTTP/1.1 502 No such target\r\nContent-Length: 0\r\n\r\n");
        };
        client.write_all(b"HTTP/1.1 200 Tunnel\r\n\r\n")?;
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        let upwards = std::thread::spawn(move || pour(reader.into_inner(), &from, &to));
        pour(&server, &server, &client);
        // The thread has only copied bytes.
        let _ = upwards.join();
        Ok(())
    }
}

/// Copies until the end and says so to the other side.
fn pour(mut source: impl Read, from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut source, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
