//! A registry on this computer, for tests that pull and push: well-behaved unless told otherwise.
//!
//! It speaks the distribution specification 1.1 (manifests, blobs with ranges, uploads, mounts,
//! tags, referrers), plainly or with TLS, with or without logins. A script of faults makes it cut,
//! stall or lie, and a ledger tells afterwards what was asked for and what it cost. Bound to any
//! address, virtual machines reach it as well: 127.0.0.1 is 10.0.2.2 in QEMU's user network.
//!
//! It knows nothing of Kiln's own registry client and shares no code with it. An existing registry
//! program was dropped: none can be made to fail at a chosen byte.

mod access;
mod api;
mod certificates;
mod connection;
pub mod proxy;
mod range;
mod script;
mod storage;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::error::{Error, file_error};

use access::Tokens;
use api::{Api, Route};
use connection::{Connection, Distortion, Head, Piece, Response, Stream};
use storage::Storage;

pub use access::{Access, basic};
pub use certificates::{Certificates, Tls};
pub use proxy::Proxy;
pub use range::Ranges;
pub use script::{Fault, Request, Rule};
pub use storage::Manifest;

/// Longest form that is kept for the ledger, in bytes.
const FORM_BYTES: u64 = 64 << 10;

/// How a registry behaves where no fault says otherwise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Who may do what.
    pub access: Access,
    /// What `Range` does.
    pub ranges: Ranges,
    /// Whether there is a referrers API; without it clients fall back to tags.
    pub referrers: bool,
    /// Whether blobs can be mounted from other repositories.
    pub mounts: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            access: Access::Open,
            ranges: Ranges::default(),
            referrers: true,
            mounts: true,
        }
    }
}

/// A running registry; it ends when dropped.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    address: SocketAddr,
    certificates: Option<Certificates>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    storage: Storage,
    tokens: Tokens,
    tls: Option<Arc<ServerConfig>>,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
    /// Open connections by number, to end them.
    clients: Mutex<BTreeMap<u64, TcpStream>>,
    is_ending: AtomicBool,
}

impl Registry {
    /// Starts a registry.
    ///
    /// # Errors
    /// When the address is taken, or certificates or the store cannot be made.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let wanted = settings.address.to_string();
        let listening = file_error("listen on", Path::new(&wanted));
        let listener = TcpListener::bind(settings.address).map_err(&listening)?;
        let address = listener.local_addr().map_err(&listening)?;
        let made = settings.tls.as_ref().map(certificates::make).transpose()?;
        let (certificates, tls) = made.unzip();
        let storage = Storage::new().map_err(file_error("create", Path::new("a folder")))?;
        let shared = Arc::new(Shared {
            settings,
            storage,
            tokens: Tokens::default(),
            tls,
            rules: Mutex::default(),
            requests: Mutex::default(),
            clients: Mutex::default(),
            is_ending: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &served));
        Ok(Self { shared, address, certificates, acceptor: Some(acceptor) })
    }

    /// Starts one with plain HTTP, open to everybody.
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn plain() -> Result<Self, Error> {
        Self::start(Settings::default())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `address:port`, as image references begin.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `address:port` for machines in QEMU's user network, if it listens on this computer's loopback
    /// address or on all.
    #[must_use]
    pub fn host_for_guests(&self) -> String {
        format!("10.0.2.2:{}", self.address.port())
    }

    /// What clients need for TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Adds a rule to the script.
    pub fn script(&self, rule: Rule) {
        locked(&self.shared.rules).push(rule);
    }

    /// Drops all rules: from now on it behaves well.
    pub fn forgive(&self) {
        locked(&self.shared.rules).clear();
    }

    /// Takes all tokens back.
    pub fn revoke_tokens(&self) {
        self.shared.tokens.revoke();
    }

    /// The ledger: all requests so far, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.shared.requests).clone()
    }

    /// Requests so far whose target contains `part`.
    #[must_use]
    pub fn requests_for(&self, part: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.target.contains(part));
        requests
    }

    /// Bytes of all answers' bodies so far.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        locked(&self.shared.requests).iter().map(|request| request.sent).sum()
    }

    /// Empties the ledger.
    pub fn forget_requests(&self) {
        locked(&self.shared.requests).clear();
    }

    /// Puts a blob into a repository and returns its digest.
    ///
    /// # Errors
    /// When the store's disk is full.
    pub fn add_blob(&self, repository: &str, mut bytes: impl Read) -> Result<String, Error> {
        let added = self.shared.storage.add_blob(repository, &mut bytes);
        added.map_err(file_error("store a blob of", Path::new(repository)))
    }

    /// Puts a manifest or index into a repository, whatever it says, and returns its digest.
    pub fn add_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let manifest = Manifest { media_type: media_type.to_owned(), bytes: bytes.to_vec() };
        self.shared.storage.put_manifest(repository, tag.unwrap_or("sha256:"), manifest)
    }

    /// Puts all blobs of an OCI layout into a repository, those that are manifests or indexes as
    /// such, and tags what `index.json` lists first. Returns the digest behind the tag.
    ///
    /// # Errors
    /// When the layout cannot be read or lists nothing.
    pub fn add_layout(&self, repository: &str, tag: &str, layout: &Path) -> Result<String, Error> {
        let blobs = layout.join("blobs/sha256");
        for entry in fs::read_dir(&blobs).map_err(file_error("read", &blobs))? {
            let path = entry.map_err(file_error("read", &blobs))?.path();
            if let Some((media_type, bytes)) = manifest_in(&path) {
                self.add_manifest(repository, None, &media_type, &bytes);
            }
            self.add_blob(repository, File::open(&path).map_err(file_error("read", &path))?)?;
        }
        let path = layout.join("index.json");
        let text = fs::read_to_string(&path).map_err(file_error("read", &path))?;
        let index: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let digest = index["manifests"][0]["digest"].as_str().unwrap_or_default();
        let found = self.manifest(repository, digest);
        let unusable =
            || Error::Unexpected { what: path.display().to_string(), text: text.clone() };
        let manifest = found.ok_or_else(unusable)?;
        Ok(self.add_manifest(repository, Some(tag), &manifest.media_type, &manifest.bytes))
    }

    /// A manifest or index, by tag or digest.
    #[must_use]
    pub fn manifest(&self, repository: &str, version: &str) -> Option<Manifest> {
        self.shared.storage.manifest(repository, version).map(|(_, manifest)| manifest)
    }

    /// The file of a blob.
    #[must_use]
    pub fn blob(&self, repository: &str, digest: &str) -> Option<PathBuf> {
        self.shared.storage.blob(repository, digest)
    }

    /// The tags of a repository, in order.
    #[must_use]
    pub fn tags(&self, repository: &str) -> Vec<String> {
        self.shared.storage.tags(repository).unwrap_or_default()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        for client in locked(&self.shared.clients).values() {
            // It may be gone already.
            let _ = client.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor, also where it listens on all addresses.
        let woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.address.port())).is_ok()
            || TcpStream::connect(self.address).is_ok();
        if let Some(acceptor) = self.acceptor.take().filter(|_| woken) {
            let _ = acceptor.join();
        }
    }
}

/// Media type and bytes of a file that is a manifest or an index.
fn manifest_in(path: &Path) -> Option<(String, Vec<u8>)> {
    if fs::metadata(path).ok()?.len() > 4 << 20 {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let document: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let kind = if document["manifests"].is_array() {
        "application/vnd.oci.image.index.v1+json"
    } else if document["layers"].is_array() && document["config"].is_object() {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        return None;
    };
    Some((document["mediaType"].as_str().unwrap_or(kind).to_owned(), bytes))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, client) in (0..).zip(listener.incoming()) {
        if shared.is_ending.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        let Ok(handle) = client.try_clone() else { continue };
        locked(&shared.clients).insert(number, handle);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that breaks off is the client's business; the ledger tells how far it got.
            let _ = shared.serve(client);
            // This was the last but one handle of the socket, so dropping it has ended nothing.
            if let Some(handle) = locked(&shared.clients).remove(&number) {
                let _ = handle.shutdown(Shutdown::Both);
            }
        });
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(client),
            Some(configuration) => {
                let session = ServerConnection::new(Arc::clone(configuration));
                Box::new(StreamOwned::new(session.map_err(io::Error::other)?, client))
            }
        };
        let mut connection = Connection::new(stream, &self.is_ending);
        while let Some(head) = connection.read_head()? {
            if !self.exchange(&head, &mut connection)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One request and its answer; whether the connection stays open.
    fn exchange(&self, head: &Head, connection: &mut Connection<'_>) -> io::Result<bool> {
        let mut fault = None;
        for rule in locked(&self.rules).iter_mut() {
            if rule.hits(&head.method, &head.target) && fault.is_none() {
                fault = Some(rule.fault.clone());
            }
        }
        let number = {
            let mut requests = locked(&self.requests);
            requests.push(Request {
                method: head.method.clone(),
                target: head.target.clone(),
                headers: head.headers.clone(),
                form: String::new(),
                status: 0,
                sent: 0,
                received: 0,
            });
            requests.len() - 1
        };
        // The ledger may have been emptied meanwhile; then this request is not in it.
        let record = |note: &mut dyn FnMut(&mut Request)| {
            if let Some(request) = locked(&self.requests).get_mut(number) {
                note(request);
            }
        };
        if matches!(fault, Some(Fault::HangUp)) {
            return Ok(false);
        }
        let response = self.response(head, fault.as_ref(), connection, &mut |form, received| {
            record(&mut |request| {
                request.form = form.to_owned();
                request.received = received;
            });
        })?;
        let (response, distortion) = distorted(response, fault)?;
        record(&mut |request| request.status = response.status);
        let is_head = head.method == "HEAD";
        let stays = connection.send(&response, is_head, &distortion, &mut |bytes| {
            record(&mut |request| request.sent += bytes);
        })?;
        Ok(stays
            && head.header("connection").is_none_or(|word| !word.eq_ignore_ascii_case("close")))
    }

    fn response(
        &self,
        head: &Head,
        fault: Option<&Fault>,
        connection: &mut Connection<'_>,
        received: &mut dyn FnMut(&str, u64),
    ) -> io::Result<Response> {
        if let Some(Fault::Status { status, headers, body }) = fault {
            received("", connection.read_body(head, u64::MAX, &mut io::sink())?);
            let response = Response::status(*status).bytes(body.clone());
            let headers = headers.iter();
            return Ok(
                headers.fold(response, |response, (name, value)| response.header(name, value))
            );
        }
        let Some(route) = Route::of(head.path()) else {
            received("", connection.read_body(head, u64::MAX, &mut io::sink())?);
            return Ok(Response::error(404, "UNSUPPORTED", "no such place"));
        };
        let access = &self.settings.access;
        if route == Route::Token {
            let mut form = Vec::new();
            let length = connection.read_body(head, FORM_BYTES, &mut form)?;
            let form = String::from_utf8_lossy(&form).into_owned();
            received(&form, length);
            return Ok(self.tokens.token(access, head, &form));
        }
        let action = if matches!(head.method.as_str(), "GET" | "HEAD") { "pull" } else { "push" };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let wanted = route.repository().map(|repository| (repository, action));
        if let Some(refusal) = self.tokens.refusal(access, head, scheme, wanted) {
            received("", connection.read_body(head, u64::MAX, &mut io::sink())?);
            return Ok(refusal);
        }
        let api = Api { settings: &self.settings, storage: &self.storage, fault };
        let (response, length) = api.answer(&route, head, connection)?;
        received("", length);
        Ok(response)
    }
}

/// Does to an answer what the fault says.
fn distorted(mut response: Response, fault: Option<Fault>) -> io::Result<(Response, Distortion)> {
    let mut distortion = Distortion::default();
    match fault {
        Some(Fault::Truncate(at)) => distortion.cut = Some(at),
        Some(Fault::Flip(at)) => distortion.flip = Some(at),
        Some(Fault::Stall { after, pause }) => distortion.stall = Some((after, pause)),
        Some(Fault::Append(bytes)) => response.body.push(Piece::Bytes(bytes)),
        Some(Fault::Replace(bytes)) => response.body = vec![Piece::Bytes(bytes)],
        Some(Fault::Shorten(length)) => {
            let mut left = length;
            for piece in &mut response.body {
                match piece {
                    Piece::Bytes(bytes) => {
                        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                        left -= bytes.len() as u64;
                    }
                    Piece::File { length, .. } => {
                        *length = left.min(*length);
                        left -= *length;
                    }
                }
            }
        }
        _ => {}
    }
    Ok((response, distortion))
}
