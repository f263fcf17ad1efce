//! What a caller may decide about reading images, with bounds for hostile input.
//!
//! `Options::default()` touches neither environment nor disk, so library users and tests get the
//! same answer everywhere; `Options::from_environment` is the one place that looks at variables.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Platform;
use crate::gate::Gate;
use crate::rate::RateLimit;

/// Bounds on what an image may make the reader do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest image index or manifest, in bytes (registries commonly accept 4 MiB).
    pub manifest_bytes: u64,
    /// Largest image configuration, in bytes.
    pub config_bytes: u64,
    /// Largest single layer as stored, in bytes.
    pub max_blob_bytes: u64,
    /// Uncompressed bytes allowed for each stored byte, after `free_uncompressed_bytes`.
    pub max_uncompressed_ratio: u64,
    /// Uncompressed bytes a layer may have whatever its ratio: small layers of zeros are honest.
    pub free_uncompressed_bytes: u64,
    /// Most layers of one image.
    pub max_layers: usize,
    /// Most indexes on the way to a manifest.
    pub index_depth: usize,
    /// Most members of an archive.
    pub archive_members: usize,
    /// Largest zstd window as a power of two; used within 27 to 31 (libzstd's own maximum).
    pub zstd_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            config_bytes: 16 << 20,
            max_blob_bytes: 64 << 30,
            max_uncompressed_ratio: 1000,
            free_uncompressed_bytes: 64 << 20,
            max_layers: 1024,
            index_depth: 4,
            archive_members: 65_536,
            zstd_window_log: 27,
        }
    }
}

/// Choices for talking to registries.
#[derive(Debug, Clone)]
pub struct Network {
    /// Hosts (`host` or `host:port`) spoken to in plain HTTP. Nothing else makes HTTP acceptable.
    pub plain_http: Vec<String>,
    /// Credential files in the format of docker's `config.json`, first match wins.
    pub auth_files: Vec<PathBuf>,
    /// Files or drop-in folders in the format of containers-registries.conf(5) version 2; later
    /// ones replace the entries of earlier ones with the same prefix, and their search list.
    pub registries_conf: Vec<PathBuf>,
    /// Folders in the format of containers-certs.d(5), the first with a folder for the host counts.
    pub certificate_directories: Vec<PathBuf>,
    /// PEM bundles of trusted CAs; the first that exists counts. Without any the Mozilla roots
    /// compiled into the program are used.
    pub ca_bundles: Vec<PathBuf>,
    /// Further CAs as PEM texts, trusted for every host beside those of the bundle.
    pub authorities: Vec<String>,
    /// Proxies on the way to registries.
    pub proxies: Proxies,
    /// Attempts for one request, the first included.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles each time.
    pub first_delay: Duration,
    /// Longest wait, also for what a server asks with `Retry-After`.
    pub longest_delay: Duration,
    /// Time for name lookup, TCP and TLS of one connection.
    pub connect_timeout: Duration,
    /// Time until the headers of an answer are there.
    pub response_timeout: Duration,
    /// Longest silence within a body; there is no limit on a slow but steady download.
    pub read_timeout: Duration,
    /// Bytes a second that all downloads together may take.
    pub rate_limit: RateLimit,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            auth_files: Vec::new(),
            registries_conf: Vec::new(),
            certificate_directories: Vec::new(),
            ca_bundles: Vec::new(),
            authorities: Vec::new(),
            proxies: Proxies::default(),
            attempts: 6,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(20),
            response_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            rate_limit: RateLimit::default(),
        }
    }
}

/// Proxies, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name them.
#[derive(Clone, Default)]
pub struct Proxies {
    /// Address of the proxy for plain HTTP; `http://` may be left out.
    pub http: Option<String>,
    /// Address of the proxy for HTTPS.
    pub https: Option<String>,
    /// Where to go directly, joined by commas: names with all below them, `.name` for only what is
    /// below, addresses, networks (`10.0.0.0/8`), each but the last with an optional port, or `*`.
    pub exceptions: String,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The addresses may hold passwords.
        formatter
            .debug_struct("Proxies")
            .field("exceptions", &self.exceptions)
            .finish_non_exhaustive()
    }
}

/// Everything [`crate::open`] can be told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which image of an index to take; Linux on this machine's processor by default.
    pub platform: Platform,
    /// Bounds against hostile input.
    pub limits: Limits,
    /// Folder of downloaded blobs, kept between runs and shared by concurrent ones. Without it
    /// downloads go to unlinked temporary files.
    pub cache: Option<PathBuf>,
    /// Registry access.
    pub network: Network,
    /// Asked before any image is used; without one all are.
    pub gate: Option<Arc<dyn Gate>>,
}

impl Options {
    /// Defaults plus the places where podman, skopeo and docker keep their configuration.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let variable = |name| variable(name).filter(|path| !path.as_os_str().is_empty());
        let home = variable("HOME");
        let configuration =
            variable("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        let mut network = Network { proxies: proxies(&variable), ..Network::default() };
        match variable("REGISTRY_AUTH_FILE") {
            Some(file) => network.auth_files.push(file),
            None => {
                let runtime = variable("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json"));
                let permanent = configuration.as_ref().map(|d| d.join("containers/auth.json"));
                let docker = variable("DOCKER_CONFIG")
                    .or_else(|| home.as_ref().map(|home| home.join(".docker")))
                    .map(|d| d.join("config.json"));
                network.auth_files.extend([runtime, permanent, docker].into_iter().flatten());
            }
        }
        let system = PathBuf::from("/etc/containers");
        match variable("CONTAINERS_REGISTRIES_CONF") {
            Some(file) => network.registries_conf.push(file),
            None => {
                let folders = [Some(system.clone()), configuration.map(|d| d.join("containers"))];
                // containers-registries.conf(5): the user's file replaces the system's, drop-ins add.
                let folders: Vec<PathBuf> = folders.into_iter().flatten().collect();
                let files = folders.iter().map(|d| d.join("registries.conf"));
                network.registries_conf.extend(files.rev().find(|file| file.exists()));
                let drop_ins = folders.iter().map(|d| d.join("registries.conf.d"));
                network.registries_conf.extend(drop_ins);
            }
        }
        network.certificate_directories.extend(
            [
                home.map(|home| home.join(".config/containers/certs.d")),
                Some(system.join("certs.d")),
                Some(PathBuf::from("/etc/docker/certs.d")),
            ]
            .into_iter()
            .flatten(),
        );
        network.ca_bundles.extend(variable("SSL_CERT_FILE"));
        network.ca_bundles.extend(
            [
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/pki/tls/certs/ca-bundle.crt",
                "/etc/ssl/ca-bundle.pem",
                "/etc/ssl/cert.pem",
            ]
            .map(PathBuf::from),
        );
        Self { network, ..Self::default() }
    }
}

/// The first variable that is set, in the order of Go's `net/http`, which does not know `ALL_PROXY`.
fn proxies(variable: &impl Fn(&'static str) -> Option<PathBuf>) -> Proxies {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| variable(name)?.into_os_string().into_string().ok())
    };
    Proxies {
        http: first(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
        https: first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
        exceptions: first(&["NO_PROXY", "no_proxy"]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_for_each_scheme() {
        let options = Options::from_variables(|name| match name {
            "https_proxy" => Some("http://lower:1".into()),
            "HTTPS_PROXY" => Some("http://upper:1".into()),
            "HTTP_PROXY" => Some("".into()),
            "ALL_PROXY" => Some("http://all:1".into()),
            "no_proxy" => Some("a.example".into()),
            _ => None,
        });
        let Proxies { http, https, exceptions } = options.network.proxies;
        assert_eq!(http.as_deref(), Some("http://all:1"));
        assert_eq!(https.as_deref(), Some("http://upper:1"));
        assert_eq!(exceptions, "a.example");
    }

    #[test]
    fn the_auth_file_variable_replaces_the_usual_places() {
        let options = Options::from_variables(|name| match name {
            "REGISTRY_AUTH_FILE" => Some("/a.json".into()),
            "HOME" => Some("/home/u".into()),
            _ => None,
        });
        assert_eq!(options.network.auth_files, [PathBuf::from("/a.json")]);
    }

    #[test]
    fn usual_auth_files_come_in_podmans_order() {
        let options = Options::from_variables(|name| match name {
            "XDG_RUNTIME_DIR" => Some("/run/user/1".into()),
            "HOME" => Some("/home/u".into()),
            "DOCKER_CONFIG" => Some("".into()),
            _ => None,
        });
        let expected = [
            "/run/user/1/containers/auth.json",
            "/home/u/.config/containers/auth.json",
            "/home/u/.docker/config.json",
        ];
        assert_eq!(options.network.auth_files, expected.map(PathBuf::from));
    }
}
