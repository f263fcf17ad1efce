//! Mirrors, rewrites and the search list of registries (containers-registries.conf(5), version 2).
//!
//! `insecure` is read and has no effect: what the machine's configuration allows others to do is
//! no consent to fetch an operating system without TLS. `unqualified-search-registries` counts only
//! with exactly one entry: among several the first to answer would decide what is built. Aliases
//! are ignored; distributions ship lists of them that no user chose.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::blob::Blob;
use crate::digest::shorten;
use crate::{Error, Reference, ShortName};

/// Largest configuration file, in bytes.
const CONFIGURATION_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
    #[serde(default)]
    mirror_by_digest_only: bool,
    /// The file the entry is in.
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    pull_from_mirror: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    /// Absent and empty differ: an empty list takes back what an earlier file said.
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<Registry>,
}

/// What all files together say.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// Of entries with the same prefix only the last.
    registries: Vec<Registry>,
    /// The last search list and the file it is in.
    search: Option<(PathBuf, Vec<String>)>,
}

/// A host and a repository to ask there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) repository: String,
}

/// Reads files, and the `*.conf` files of folders in the order of their names.
pub(super) fn load(paths: &[PathBuf]) -> Result<Configuration, Error> {
    let mut configuration = Configuration::default();
    for path in paths.iter().filter(|path| path.exists()) {
        let mut files = vec![path.clone()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(Error::io("list", path))?;
            files = entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()
                .map_err(Error::io("list", path))?;
            files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
            files.sort();
        }
        for file in files {
            let bytes = Blob::open_file(&file)?.read_all(CONFIGURATION_BYTES)?;
            configuration.add(&bytes, &file)?;
        }
    }
    Ok(configuration)
}

impl Configuration {
    fn add(&mut self, bytes: &[u8], path: &Path) -> Result<(), Error> {
        let refused = |reason| Error::Configuration { path: path.to_owned(), reason };
        let text = std::str::from_utf8(bytes).map_err(|error| refused(error.to_string()))?;
        let document: Document =
            toml::from_str(text).map_err(|error| refused(error.message().to_owned()))?;
        for mut registry in document.registry {
            registry.path = path.to_owned();
            if registry.prefix().is_empty() {
                return Err(refused("a registry has neither prefix nor location".into()));
            }
            self.registries.retain(|other| other.prefix() != registry.prefix());
            self.registries.push(registry);
        }
        if let Some(search) = document.unqualified_search_registries {
            self.search = Some((path.to_owned(), search));
        }
        Ok(())
    }

    /// The name with the only registry there is to search.
    pub(super) fn qualify(&self, name: &ShortName) -> Result<Reference, Error> {
        let short = |searched: &[String]| Error::ShortName {
            given: shorten(&name.to_string()),
            searched: searched.iter().map(|registry| shorten(registry)).collect(),
        };
        let Some((path, search)) = &self.search else { return Err(short(&[])) };
        let [registry] = search.as_slice() else { return Err(short(search)) };
        name.within(registry).map_err(|_| Error::Configuration {
            path: path.clone(),
            reason: format!("search registry {:?} makes no name of {name}", shorten(registry)),
        })
    }

    /// Where to ask for `reference`: mirrors first, the place itself last.
    pub(super) fn places(&self, reference: &Reference) -> Result<Vec<Place>, Error> {
        let name = reference.name();
        let closest = self
            .registries
            .iter()
            .filter_map(|registry| Some((matched_length(registry.prefix(), &name)?, registry)))
            .max_by_key(|(length, _)| *length);
        let Some((length, registry)) = closest else {
            return Ok(vec![Place {
                host: reference.host.clone(),
                repository: reference.repository.clone(),
            }]);
        };
        if registry.blocked {
            return Err(Error::Blocked {
                prefix: registry.prefix().to_owned(),
                path: registry.path.clone(),
            });
        }
        let by_digest = reference.digest.is_some();
        let serves = |mirror: &&Mirror| match mirror.pull_from_mirror.as_deref() {
            Some("digest-only") => by_digest,
            Some("tag-only") => !by_digest,
            _ => by_digest || !registry.mirror_by_digest_only,
        };
        let locations = registry.mirror.iter().filter(serves).map(|mirror| &mirror.location);
        let rest = &name[length..];
        let place = |location: &String| {
            let place = format!("{location}{rest}");
            let (host, repository) = place.split_once('/').unwrap_or((&place, ""));
            let checked = format!("{host}/{repository}:x").parse::<Reference>();
            match checked {
                Ok(parsed) if parsed.host == host => {
                    Ok(Place { host: host.to_owned(), repository: repository.to_owned() })
                }
                _ => Err(Error::Configuration {
                    path: registry.path.clone(),
                    reason: format!("location {location:?} makes no repository of {name}"),
                }),
            }
        };
        let primary = registry.location.iter();
        let mut places = locations.chain(primary).map(place).collect::<Result<Vec<_>, _>>()?;
        if registry.location.is_none() {
            places.push(Place {
                host: reference.host.clone(),
                repository: reference.repository.clone(),
            });
        }
        Ok(places)
    }
}

impl Registry {
    fn prefix(&self) -> &str {
        self.prefix.as_deref().or(self.location.as_deref()).unwrap_or("")
    }
}

/// Bytes of `name` a prefix covers; `*.wild.example` covers the host.
fn matched_length(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.split('/').next().unwrap_or_default();
        return (domain.starts_with('.') && host.ends_with(domain)).then_some(host.len());
    }
    let prefix = prefix.trim_end_matches('/');
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Name;
    use proptest::prelude::*;

    const TEXT: &str = r#"
        unqualified-search-registries = ["x.example"]
        [[registry]]
        prefix = "a.example"
        location = "b.example/proxy"
        [[registry.mirror]]
        location = "m.example:5000/cache"
        insecure = true
        [[registry.mirror]]
        location = "n.example"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "a.example/forbidden"
        blocked = true
        [[registry]]
        prefix = "*.wild.example"
        location = "w.example"
    "#;

    fn places(name: &str) -> Result<Vec<String>, Error> {
        let mut configuration = Configuration::default();
        configuration.add(TEXT.as_bytes(), Path::new("/r.conf")).unwrap();
        let places = configuration.places(&name.parse().unwrap())?;
        Ok(places.into_iter().map(|p| format!("{} {}", p.host, p.repository)).collect())
    }

    #[test]
    fn mirrors_come_before_the_place_itself() {
        let digest = crate::Digest::of(b"x");
        for (name, expected) in [
            ("other.example/x".to_owned(), vec!["other.example x"]),
            ("a.example/x/y".into(), vec!["m.example:5000 cache/x/y", "b.example proxy/x/y"]),
            (
                format!("a.example/x@{digest}"),
                vec!["m.example:5000 cache/x", "n.example x", "b.example proxy/x"],
            ),
            ("q.wild.example/x".into(), vec!["w.example x"]),
            (
                "a.example/forbiddenish".into(),
                vec!["m.example:5000 cache/forbiddenish", "b.example proxy/forbiddenish"],
            ),
        ] {
            assert_eq!(places(&name).unwrap(), expected, "{name}");
        }
        let message = places("a.example/forbidden/x").unwrap_err().to_string();
        assert_eq!(message, "registry a.example/forbidden is blocked by /r.conf");
    }

    #[test]
    fn only_a_lone_search_registry_completes_short_names() {
        let list = |entries: &str| format!("unqualified-search-registries = [{entries}]");
        let lone = list("'s.example:1'");
        for (files, expected) in [
            (vec![lone.clone()], "s.example:1/debian:12"),
            (vec![lone.clone(), String::new()], "s.example:1/debian:12"),
            (vec![list("'a.example', 'b.example'"), lone.clone()], "s.example:1/debian:12"),
            (vec![list("'s.example/team/'")], "s.example/team/debian:12"),
            (vec![list("'localhost'")], "localhost/debian:12"),
            (vec![], "image name \"debian:12\" names no registry host"),
            (vec![lone.clone(), list("")], "image name \"debian:12\" names no registry host"),
            (
                vec![lone, list("'a.example', 'b.example'")],
                "image name \"debian:12\" names no registry host, and registries.conf offers \
                 more than one: a.example, b.example",
            ),
            (
                vec![list("'nohost'")],
                "configuration /r.conf is not usable: search registry \"nohost\" makes no name \
                 of debian:12",
            ),
            (
                vec![list("'https://s.example'")],
                "configuration /r.conf is not usable: search registry \"https://s.example\" makes \
                 no name of debian:12",
            ),
        ] {
            let mut configuration = Configuration::default();
            for file in &files {
                configuration.add(file.as_bytes(), Path::new("/r.conf")).unwrap();
            }
            let Name::Short(name) = "debian:12".parse().unwrap() else { panic!("it has no host") };
            let found = match configuration.qualify(&name) {
                Ok(reference) => reference.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{files:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text: String, prefix in ".{0,12}") {
            let mut configuration = Configuration::default();
            let _ = configuration.add(text.as_bytes(), Path::new("x"));
            let _ = matched_length(&prefix, &text);
        }
    }
}
