//! A TLS client on tokio whose peer sends close_notify, some more bytes, and its FIN. With rustls
//! 0.23.5 its read then neither ends nor waits: the task wakes itself for ever, and never looks at the
//! socket again. With 0.23.7 the read ends (rustls issue 1950).
//!
//! `current` or `multi`: the flavour of the runtime. `--for SECONDS`: until it ends.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    time::sleep,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What the peer sends after its close_notify: a record of 16 KiB that never comes to its end.
const TRAILING: [u8; 9] = *b"\x17\x03\x03\x40\x00more";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let stay =
        arguments.windows(2).find(|pair| pair[0] == "--for").map_or(60, |pair| pair[1].parse().expect("seconds"));
    let mut builder = match arguments.first().map(String::as_str) {
        Some("multi") => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(2);
            builder
        }
        _ => Builder::new_current_thread(),
    };
    let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = generated.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(generated.key_pair.serialize_der());
    let peer = listen(certificate.clone(), key.into());
    println!("peer {peer}");
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(stay));
        std::process::exit(0);
    });
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::spawn(client(peer, certificate)).await }).expect("no panic");
}

/// The peer: answers one connection, and says good-bye with more to come.
fn listen(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let config = Arc::new(config.expect("a configuration"));
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut tls = ServerConnection::new(config).expect("a connection");
        let mut request = [0; 5];
        rustls::Stream::new(&mut tls, &mut socket).read_exact(&mut request).expect("a request");
        tls.writer().write_all(b"answer").expect("room");
        tls.send_close_notify();
        let mut last = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut last).expect("room");
        }
        last.extend(TRAILING);
        socket.write_all(&last).expect("a client that listens");
        // Not in one segment with the bytes: it is to stay unread.
        thread::sleep(Duration::from_millis(300));
        socket.shutdown(Shutdown::Write).expect("a FIN");
        thread::sleep(Duration::from_secs(3600));
    });
    address
}

async fn client(peer: SocketAddr, certificate: CertificateDer<'static>) {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let socket = TcpStream::connect(peer).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, socket).await.expect("a handshake");
    stream.write_all(b"hello").await.expect("a peer that listens");
    let read = read_all(&mut stream).await;
    println!("ended {read:?}");
    sleep(Duration::from_secs(3600)).await;
    drop(stream);
}

/// The loop that does not end.
async fn read_all(stream: &mut TlsStream<TcpStream>) -> std::io::Result<usize> {
    let mut all = Vec::new();
    println!("reading");
    stream.read_to_end(&mut all).await
}
