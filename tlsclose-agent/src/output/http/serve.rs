//! The accept loops, and what a client may cost.
//!
//! A connection carries one request and lives for [`LIFETIME`] at most; its head must come
//! within [`HEAD_TIMEOUT`] and fit into [`HEAD_BYTES`]; bodies are not read. Only so many
//! connections are served at once; others wait in the kernel's queue.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::routes::{Shared, owner, public};
use super::{Config, Listeners};

pub const TCP_CONNECTIONS: u32 = 256;
pub const OWNER_CONNECTIONS: u32 = 64;
pub const HEAD_BYTES: usize = 16 * 1024;
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
pub const LIFETIME: Duration = Duration::from_secs(20);
/// How long requests may still take when the agent ends.
pub const DRAIN: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, for example without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` says true (or its sender is gone), then lets requests in flight
/// finish for [`DRAIN`]. The owner's socket file goes with it.
pub async fn serve(config: Config, listeners: Listeners, mut shutdown: watch::Receiver<bool>) {
    let shared = Shared::new(&config);
    let tcp_permits = Arc::new(Semaphore::new(TCP_CONNECTIONS as usize));
    let owner_permits = Arc::new(Semaphore::new(OWNER_CONNECTIONS as usize));
    let Listeners { tcp, owner: socket } = listeners;
    let tcp_loop = async {
        let router = public(&shared, config.details_over_tcp, config.access.passwords.clone());
        match &tcp {
            Some(listener) => accept_loop(listener, &tcp_permits, router, &config.access).await,
            None => std::future::pending().await,
        }
    };
    let owner_loop = async {
        match &socket {
            Some(socket) => accept_loop(&socket.listener, &owner_permits, owner(&shared), &Access::default()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = tcp_loop => {}
        () = owner_loop => {}
        _ = shutdown.wait_for(|ended| *ended) => {}
    }
    drop((tcp, socket));
    let drained = async {
        let _ = tcp_permits.acquire_many(TCP_CONNECTIONS).await;
        let _ = owner_permits.acquire_many(OWNER_CONNECTIONS).await;
    };
    let _ = timeout(DRAIN, drained).await;
}

trait Accept {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn next(&self) -> impl Future<Output = std::io::Result<Self::Stream>>;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn next(&self) -> std::io::Result<Self::Stream> {
        Ok(self.accept().await?.0)
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn next(&self) -> std::io::Result<Self::Stream> {
        Ok(self.accept().await?.0)
    }
}

async fn accept_loop(listener: &impl Accept, permits: &Arc<Semaphore>, router: Router, access: &Access) {
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(permits).acquire_owned().await {
        match listener.next().await {
            Ok(stream) => {
                let (router, tls) = (router.clone(), access.tls.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    // What a client does wrong is its own business.
                    let _ = timeout(LIFETIME, connection(stream, tls, router)).await;
                });
            }
            Err(error) => {
                log::debug!("a connection could not be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S>(stream: S, tls: Option<TlsAcceptor>, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match tls {
        None => requests(stream, router).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                requests(stream, router).await;
            }
        }
    }
}

async fn requests<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES).keep_alive(false);
    // Likewise.
    let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

#[cfg(test)]
mod tests;
