//! A certificate authority for one registry: server and client certificates made on the spot.
//!
//! Made anew for each registry, because committed certificates expire one day and take the tests
//! with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;

use crate::error::{Error, file_error};

/// TLS of a registry.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Names and addresses that the server's certificate is for.
    pub names: Vec<String>,
    /// Whether clients must show the certificate of [`Certificates`].
    pub client_certificate: bool,
    /// First and last year in which the server's certificate is valid, as a wrong clock would find it;
    /// `None` for now.
    pub years: Option<(i32, i32)>,
}

impl Default for Tls {
    /// This computer, also as virtual machines see it through QEMU's user network.
    fn default() -> Self {
        let names = ["127.0.0.1", "localhost", "10.0.2.2"].map(str::to_owned).to_vec();
        Self { names, client_certificate: false, years: None }
    }
}

/// What a client needs, in PEM form.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority that signed the server's certificate.
    pub authority: String,
    /// A client's certificate.
    pub client: String,
    /// Its private key.
    pub client_key: String,
}

impl Certificates {
    /// Writes `HOST/ca.crt`, and with `client` also `HOST/client.cert` and `HOST/client.key`, as
    /// containers-certs.d(5) has them. Returns the host's folder.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write(&self, folder: &Path, host: &str, client: bool) -> Result<PathBuf, Error> {
        let folder = folder.join(host);
        fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        let mut files = vec![("ca.crt", &self.authority)];
        if client {
            files.extend([("client.cert", &self.client), ("client.key", &self.client_key)]);
        }
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).map_err(file_error("write", &path))?;
        }
        Ok(folder)
    }
}

/// Makes an authority, signs a server's and a client's certificate, and sets up TLS 1.3.
pub(super) fn make(tls: &Tls) -> Result<(Certificates, Arc<ServerConfig>), Error> {
    let generated = |source: rcgen::Error| unusable(&source);
    let mut authority = CertificateParams::new(Vec::new()).map_err(generated)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority =
        CertifiedIssuer::self_signed(authority, KeyPair::generate().map_err(generated)?);
    let authority = authority.map_err(generated)?;
    let signed = |names: Vec<String>, purpose, years: Option<(i32, i32)>| {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(names)?;
        if let Some((first, last)) = years {
            parameters.not_before = date_time_ymd(first, 1, 1);
            parameters.not_after = date_time_ymd(last, 12, 31);
        }
        parameters.extended_key_usages = vec![purpose];
        Ok((parameters.signed_by(&key, &authority)?, key))
    };
    let (server, server_key) =
        signed(tls.names.clone(), ExtendedKeyUsagePurpose::ServerAuth, tls.years)
            .map_err(generated)?;
    let (client, client_key) =
        signed(vec!["client.example".to_owned()], ExtendedKeyUsagePurpose::ClientAuth, None)
            .map_err(generated)?;

    let refused = |source: rustls::Error| unusable(&source);
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let builder = if tls.client_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).map_err(refused)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|source| unusable(&source))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::try_from(server_key.serialize_der());
    let key = key.map_err(|source| unusable(&source))?;
    let configuration =
        builder.with_single_cert(vec![server.der().clone()], key).map_err(refused)?;
    let certificates = Certificates {
        authority: authority.pem(),
        client: client.pem(),
        client_key: client_key.serialize_pem(),
    };
    Ok((certificates, Arc::new(configuration)))
}

fn unusable(source: &dyn std::fmt::Display) -> Error {
    Error::Unexpected { what: "the lab's certificates".into(), text: source.to_string() }
}
