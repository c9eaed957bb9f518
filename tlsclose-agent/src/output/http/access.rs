//! Who may ask over TCP: TLS, client certificates and passwords, by `--web.config.file`.
//!
//! The file has the format of Prometheus's exporter-toolkit (docs/web-configuration.md there), so
//! that one file serves all exporters of a host. What is not done here is refused, and never
//! silently left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

pub mod passwords;

use passwords::Passwords;

/// One line: what is wrong, in which file.
#[derive(Debug, Error)]
pub enum AccessError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: {message}", path.display())]
    Wrong { path: PathBuf, message: String },
}

/// What a TCP client must show.
#[derive(Clone, Default)]
pub struct Access {
    pub tls: Option<TlsAcceptor>,
    /// None: no password is asked for.
    pub passwords: Option<Arc<Passwords>>,
    /// Only holders of a certificate get through.
    certificates: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tls_server_config: Option<Tls>,
    #[serde(default, rename = "http_server_config")]
    _http: Http,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: Version,
}

/// As Go's crypto/tls names them. The two that ask for a certificate and do not verify it are not
/// done here.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum Version {
    #[default]
    TLS12,
    TLS13,
}

/// Whether HTTP/2 is offered changes nothing: the agent speaks HTTP/1.1, and clients agree on it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    #[serde(default, rename = "http2")]
    _http2: Option<bool>,
}

impl Access {
    /// # Errors
    /// When a file cannot be read, or asks for what cannot be done.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let wrong = |message: String| AccessError::Wrong { path: path.to_owned(), message };
        let text = std::fs::read_to_string(path)
            .map_err(|source| AccessError::Unreadable { path: path.to_owned(), source })?;
        // An empty file is no mapping, and asks for nothing.
        let file: Option<File> = serde_norway::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let file = file.unwrap_or_default();
        let beside = |file: &Path| path.parent().unwrap_or(Path::new(".")).join(file);
        let passwords = match file.basic_auth_users {
            users if users.is_empty() => None,
            users => Some(Arc::new(Passwords::new(users).map_err(wrong)?)),
        };
        let Some(tls) = file.tls_server_config else {
            return Ok(Self { tls: None, passwords, certificates: false });
        };
        let certificates = tls.client_auth_type == ClientAuth::RequireAndVerifyClientCert;
        let config = server(&tls, &beside)?.map_err(wrong)?;
        Ok(Self { tls: Some(TlsAcceptor::from(Arc::new(config))), passwords, certificates })
    }

    /// A client is known before it sees anything.
    pub fn authenticates(&self) -> bool {
        self.passwords.is_some() || self.certificates
    }
}

/// The outer error names a file that cannot be read, the inner one what does not fit together.
fn server(tls: &Tls, beside: &impl Fn(&Path) -> PathBuf) -> Result<Result<ServerConfig, String>, AccessError> {
    let chain = certificates(&beside(&tls.cert_file))?;
    let key_file = beside(&tls.key_file);
    let key = PrivateKeyDer::from_pem_file(&key_file)
        .map_err(|error| AccessError::Wrong { path: key_file, message: format!("no private key: {error}") })?;
    let roots = match &tls.client_ca_file {
        Some(file) => Some(certificates(&beside(file))?),
        None => None,
    };
    Ok(assemble(tls, chain, key, roots))
}

fn assemble(
    tls: &Tls,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Option<Vec<CertificateDer<'static>>>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = match (tls.client_auth_type, roots) {
        (ClientAuth::NoClientCert, None) => None,
        (ClientAuth::NoClientCert, Some(_)) => return Err("client_ca_file needs a client_auth_type".to_owned()),
        (_, None) => return Err("client_auth_type needs a client_ca_file".to_owned()),
        (how, Some(roots)) => {
            let mut store = RootCertStore::empty();
            for root in roots {
                store.add(root).map_err(|error| format!("client_ca_file: {error}"))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
            let builder = match how {
                ClientAuth::VerifyClientCertIfGiven => builder.allow_unauthenticated(),
                _ => builder,
            };
            Some(builder.build().map_err(|error| format!("client_ca_file: {error}"))?)
        }
    };
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        Version::TLS12 => &[&TLS13, &TLS12],
        Version::TLS13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| format!("cert_file and key_file: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let wrong = |message: String| AccessError::Wrong { path: path.to_owned(), message };
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| wrong(format!("no certificates: {error}")))?;
    if all.is_empty() { Err(wrong("no certificates: there is none in it".to_owned())) } else { Ok(all) }
}

#[cfg(test)]
mod tests;
