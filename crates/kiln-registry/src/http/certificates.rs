//! Trusted CAs and client certificates: system bundles and containers-certs.d(5).
//!
//! CAs of a host's folder are added to the system's for that host only; client certificates are
//! pairs `NAME.cert` and `NAME.key`. Of several places the first that has a folder for the host counts, and
//! no other. Verification cannot be switched off.

use std::path::Path;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::blob::Blob;
use crate::{Error, Network};

/// Largest PEM file, in bytes; system bundles have about 250 KiB.
const PEM_BYTES: u64 = 16 << 20;

/// TLS towards `host`; `None` for hosts that were only redirected to.
pub(super) fn tls_config(host: Option<&str>, network: &Network) -> Result<TlsConfig, Error> {
    let bundle = network.ca_bundles.iter().find(|path| path.is_file());
    let mut roots = bundle.map(|path| certificates(path)).transpose()?.unwrap_or_default();
    let mut client = None;
    let mut own = Vec::new();
    for text in &network.authorities {
        own.extend(authorities(text.as_bytes())?);
    }
    let folder = host.and_then(|host| {
        let folders = network.certificate_directories.iter().map(|folder| folder.join(host));
        folders.into_iter().find(|folder| folder.is_dir())
    });
    if let Some(folder) = folder {
        let entries = std::fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
        let mut files = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::io("list", &folder))?;
        files.sort();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => own.extend(certificates(&file)?),
                Some("cert") if client.is_none() => client = Some(client_certificate(&file)?),
                _ => {}
            }
        }
    }
    let builder = TlsConfig::builder().client_cert(client);
    // Without any file the roots compiled into the program serve.
    let builder = if roots.is_empty() && own.is_empty() {
        builder.root_certs(RootCerts::WebPki)
    } else {
        roots.extend(own);
        builder.root_certs(RootCerts::new_with_certs(&roots))
    };
    Ok(builder.build())
}

fn items(path: &Path) -> Result<Vec<PemItem<'static>>, Error> {
    let bytes = Blob::open_file(path)?.read_all(PEM_BYTES)?;
    parse_pem(&bytes).collect::<Result<_, _>>().map_err(|error| refused(path, &error.to_string()))
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::Configuration { path: path.to_owned(), reason: reason.to_owned() }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let certificates: Vec<_> = items(path)?
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(refused(path, "it has no certificate in PEM form"));
    }
    Ok(certificates)
}

/// Certificates that a configuration brought along.
fn authorities(text: &[u8]) -> Result<Vec<Certificate<'static>>, Error> {
    let place = Path::new("the authorities of the configuration");
    let items: Result<Vec<PemItem<'static>>, _> = parse_pem(text).collect();
    let items = items.map_err(|error| refused(place, &error.to_string()))?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(refused(place, "they have no certificate in PEM form"));
    }
    Ok(certificates)
}

fn client_certificate(path: &Path) -> Result<ClientCert, Error> {
    let key_path = path.with_extension("key");
    let key: Option<PrivateKey<'static>> =
        items(&key_path)?.into_iter().find_map(|item| match item {
            PemItem::PrivateKey(key) => Some(key),
            _ => None,
        });
    let key = key.ok_or_else(|| refused(&key_path, "it has no private key in PEM form"))?;
    Ok(ClientCert::new_with_certs(&certificates(path)?, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_with_a_folder_for_the_host_counts() {
        let places = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let network = Network {
            certificate_directories: places.iter().map(|place| place.path().to_owned()).collect(),
            ..Network::default()
        };
        let read = || tls_config(Some("h.example:5000"), &network);
        assert!(read().is_ok(), "no place knows the host");
        for place in places.iter().rev() {
            let host = place.path().join("h.example:5000");
            std::fs::create_dir(&host).unwrap();
            std::fs::write(host.join("ca.crt"), "nothing").unwrap();
            let message = read().unwrap_err().to_string();
            assert!(message.contains(&*host.to_string_lossy()), "{message}");
        }
    }

    #[test]
    fn damaged_files_of_the_host_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("h.example:5000");
        std::fs::create_dir(&host).unwrap();
        let network = Network {
            certificate_directories: vec![folder.path().to_owned()],
            ..Network::default()
        };
        for (file, content, expected) in
            [("ca.crt", "nothing", "no certificate"), ("client.cert", "nothing", "client.key")]
        {
            std::fs::write(host.join(file), content).unwrap();
            let message = tls_config(Some("h.example:5000"), &network).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            std::fs::remove_file(host.join(file)).unwrap();
        }
        std::fs::write(host.join("ca.crt"), "nothing").unwrap();
        for other in [Some("other.example"), None] {
            assert!(tls_config(other, &network).is_ok(), "another host's files are not read");
        }
    }
}
