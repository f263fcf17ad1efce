//! Where images are fetched from, and with whose word.
//!
//! Without these arguments the places count that podman, skopeo and docker use. A file that was named
//! must be there; the usual ones may be missing.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln_build::parse_size;
use kiln_host::machine::Paths;
use kiln_registry::{Options, Platform, RateLimit, Source};

use crate::render::Failure;

/// How registries are spoken to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArguments {
    /// The platform to choose from a multi-platform image [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// Speak plain HTTP with this registry; may be given more than once
    #[arg(long, value_name = "HOST[:PORT]")]
    plain_http: Vec<String>,
    /// A file with credentials, instead of those of podman and docker
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// A folder like /etc/containers/certs.d that is looked into first
    #[arg(long, value_name = "DIR")]
    certs_dir: Option<PathBuf>,
    /// A registries.conf to read instead of the system's and the user's
    #[arg(long, value_name = "FILE")]
    registries_conf: Option<PathBuf>,
    /// Where downloaded layers are kept [default: kiln/blobs in the user's cache folder; for
    /// `upgrade` /state/kiln/cache until it is done]
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Most bytes a second of all downloads together, such as 2MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    limit_rate: Option<NonZeroU64>,
    /// Keep no downloaded layers
    #[arg(long)]
    no_cache: bool,
}

impl RegistryArguments {
    /// Options for reading `source` on a machine: its own credentials come before those of people,
    /// and the cache is where it can be cleared.
    pub(crate) fn options_of_machine(
        &self,
        source: &Source,
        paths: &Paths,
    ) -> Result<Options, Failure> {
        let mut options = self.options(&[source])?;
        if self.auth_file.is_none() && paths.credentials.exists() {
            options.network.auth_files.insert(0, paths.credentials.clone());
        }
        if self.cache.is_none() && is_remote(source) && !self.no_cache {
            options.cache = Some(paths.cache.clone());
        }
        Ok(options)
    }

    /// Options for reading `sources`.
    pub(crate) fn options(&self, sources: &[&Source]) -> Result<Options, Failure> {
        let mut options = Options::from_environment();
        options.platform = self.platform.clone().unwrap_or_default();
        options.network.plain_http.clone_from(&self.plain_http);
        if let Some(file) = &self.auth_file {
            options.network.auth_files = vec![existing(file)?];
        }
        if let Some(file) = &self.registries_conf {
            options.network.registries_conf = vec![existing(file)?];
        }
        if let Some(folder) = &self.certs_dir {
            options.network.certificate_directories.insert(0, existing(folder)?);
        }
        if let Some(bytes_per_second) = self.limit_rate {
            options.network.rate_limit = RateLimit::new(bytes_per_second);
        }
        options.cache = match &self.cache {
            Some(folder) => Some(folder.clone()),
            None if self.no_cache || !sources.iter().any(|source| is_remote(source)) => None,
            None => usual_cache(|name| std::env::var_os(name).map(PathBuf::from)),
        };
        Ok(options)
    }
}

fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let bytes = parse_size(text)?;
    NonZeroU64::new(bytes).ok_or_else(|| "nothing would ever arrive at this rate".to_owned())
}

fn is_remote(source: &Source) -> bool {
    matches!(source, Source::Registry(_) | Source::ShortName(_))
}

fn existing(path: &Path) -> Result<PathBuf, Failure> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(Failure::system(format!("cannot read {}", path.display()), error)),
    }
}

/// The user's cache folder (XDG base directory specification). A user who has none, or may not
/// write to it, goes without: a cache must never be the reason why a build fails.
fn usual_cache(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let base =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    let folder = base.join("kiln/blobs");
    std::fs::create_dir_all(&folder).ok()?;
    tempfile::tempfile_in(&folder).ok().map(|_| folder)
}

#[cfg(test)]
mod tests {
    use super::usual_cache;

    #[test]
    fn the_cache_is_the_users_or_none() {
        let home = tempfile::tempdir().unwrap();
        let in_home = usual_cache(|name| (name == "HOME").then(|| home.path().into()));
        assert_eq!(in_home, Some(home.path().join(".cache/kiln/blobs")));
        let named = usual_cache(|name| match name {
            "XDG_CACHE_HOME" => Some(home.path().join("c")),
            _ => Some("/nowhere".into()),
        });
        assert_eq!(named, Some(home.path().join("c/kiln/blobs")));
        assert_eq!(usual_cache(|_| None), None);
        assert_eq!(usual_cache(|_| Some("relative".into())), None);
        assert_eq!(usual_cache(|_| Some("/proc/no".into())), None, "nobody can write there");
    }
}
