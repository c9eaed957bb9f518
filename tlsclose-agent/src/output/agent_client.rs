//! The command line's side of the agent: one question, one answer, one deadline.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::output::filter::Filter;

/// No answer is larger: 200 sites are about 1 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// Which agent to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one of this host.
    Socket(PathBuf),
    /// `host:port` of plain HTTP, and the path before the API's.
    Http { authority: String, prefix: String },
}

/// One line: what failed, on what, what to do.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("no agent answers at {0}: start one with `tlsclose agent`, or use none: `tlsclose leaks --standalone`")]
    NoAgent(Target),
    #[error("may not ask the agent at {0}: run as the user that runs the agent")]
    Denied(Target),
    #[error("--agent {0}: write it like http://node-7:9988")]
    BadUrl(String),
    #[error("the agent at {0} refused: {1}")]
    Refused(Target, String),
    #[error("lost contact with the agent at {0}: {1}")]
    Lost(Target, String),
}

impl ClientError {
    /// What the command exits with: 2 for wrong usage, 3 for lost contact.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadUrl(_) | Self::Refused(..) => 2,
            Self::NoAgent(_) | Self::Denied(_) | Self::Lost(..) => 3,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Http { authority, prefix } => write!(f, "http://{authority}{prefix}"),
        }
    }
}

impl Target {
    /// `--agent URL` where given, else the socket.
    pub fn new(url: Option<&str>, socket: &Path) -> Result<Self, ClientError> {
        let Some(url) = url else {
            return Ok(Self::Socket(socket.to_owned()));
        };
        let bad = || ClientError::BadUrl(url.escape_debug().to_string());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(bad());
        };
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad());
        }
        let host = authority.host();
        Ok(Self::Http {
            authority: format!("{host}:{}", authority.port_u16().unwrap_or(9988)),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Asks for `path`, which begins with `/` and may have a query.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, deadline: Duration) -> Result<T, ClientError> {
        let lost = |what: String| ClientError::Lost(self.clone(), what);
        let answer = tokio::time::timeout(deadline, self.ask(path))
            .await
            .map_err(|_| lost(format!("no answer within {} s", deadline.as_secs_f64())))?;
        let (status, body) = answer?;
        if status != StatusCode::OK {
            return Err(ClientError::Refused(self.clone(), said(status, &body)));
        }
        serde_json::from_slice(&body).map_err(|error| lost(format!("the answer cannot be read: {error}")))
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoAgent(self.clone()),
            io::ErrorKind::PermissionDenied => ClientError::Denied(self.clone()),
            _ => ClientError::Lost(self.clone(), error.to_string()),
        };
        match self {
            Self::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(failed)?;
                self.exchange(stream, "localhost", path.to_owned()).await
            }
            Self::Http { authority, prefix } => {
                let stream = TcpStream::connect(authority.as_str()).await.map_err(failed)?;
                self.exchange(stream, authority, format!("{prefix}{path}")).await
            }
        }
    }

    async fn exchange<S>(&self, stream: S, host: &str, path: String) -> Result<(StatusCode, Bytes), ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let lost = |error: hyper::Error| ClientError::Lost(self.clone(), error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // Ends with the sender, or with the deadline that drops it.
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", host)
            .header("accept", "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| ClientError::Lost(self.clone(), error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(lost)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| ClientError::Lost(self.clone(), error.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

/// The path of the sites that a filter selects; sorting and cutting is the asker's.
pub fn leaks_path(filter: &Filter) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(kind) = filter.kind {
        query.append_pair("kind", kind.name());
    }
    if let Some(pid) = filter.pid {
        query.append_pair("pid", &pid.to_string());
    }
    for (name, value) in [("comm", &filter.comm), ("namespace", &filter.namespace), ("site", &filter.site)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    match query.finish() {
        query if query.is_empty() => "/api/v1/leaks".to_owned(),
        query => format!("/api/v1/leaks?{query}"),
    }
}

/// The agent's own words, where the answer has them.
fn said(status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        error: String,
    }
    serde_json::from_slice(body).map_or_else(
        |_| format!("status {status}"),
        |answer: Answer| tlsclose_core::model::escape(&answer.error).into_owned(),
    )
}

#[cfg(test)]
mod tests;
