//! A TLS server and a TLS client by rustls, in one process, which end their connections with or
//! without a `close_notify`. Nobody checks certificates here: the peer is this program.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

const RESPONSE: usize = 3000;

/// `tls CERTIFICATE-AND-KEY COUNT VERSION [goodbye]`.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let [file, count, version, goodbye @ ..] = arguments else {
        return Err(io::Error::other("tls FILE COUNT VERSION [goodbye]"));
    };
    let count: usize = count.parse().map_err(io::Error::other)?;
    let version = match version.as_str() {
        "1.2" => &rustls::version::TLS12,
        "1.3" => &rustls::version::TLS13,
        other => return Err(io::Error::other(format!("no TLS {other}"))),
    };
    let goodbye = !goodbye.is_empty();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = Arc::new(server_config(Path::new(file), version, &provider)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serving = thread::spawn(move || (0..count).try_for_each(|_| serve(&listener, &server, goodbye)));
    let client = Arc::new(client_config(version, provider)?);
    for _ in 0..count {
        request(address, &client, goodbye)?;
    }
    serving.join().map_err(|_| io::Error::other("the server failed"))??;
    println!("done");
    Ok(())
}

fn server_config(
    file: &Path,
    version: &'static SupportedProtocolVersion,
    provider: &Arc<CryptoProvider>,
) -> io::Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(file).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(file).map_err(io::Error::other)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[version]);
    let builder = builder.map_err(io::Error::other)?.with_no_client_auth();
    builder.with_single_cert(vec![certificate], key).map_err(io::Error::other)
}

fn client_config(
    version: &'static SupportedProtocolVersion,
    provider: Arc<CryptoProvider>,
) -> io::Result<ClientConfig> {
    let verifier = Arc::new(Anybody(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
    let builder = builder.map_err(io::Error::other)?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// Answers one request, and hangs up when the client has.
#[inline(never)]
fn serve(listener: &TcpListener, config: &Arc<ServerConfig>, goodbye: bool) -> io::Result<()> {
    let (tcp, _) = listener.accept()?;
    tcp.set_nodelay(true)?;
    let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, tcp);
    let mut buffer = [0; 100];
    let _ = stream.read(&mut buffer)?;
    stream.write_all(&[b'x'; RESPONSE])?;
    stream.flush()?;
    // 0 after a close_notify, UnexpectedEof without one.
    while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
    if goodbye {
        stream.conn.send_close_notify();
        // The client may be gone already.
        let _ = stream.flush();
    }
    hang_up(stream.sock);
    Ok(())
}

fn request(address: SocketAddr, config: &Arc<ClientConfig>, goodbye: bool) -> io::Result<()> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let tcp = TcpStream::connect(address)?;
    tcp.set_nodelay(true)?;
    let mut stream = StreamOwned::new(session, tcp);
    stream.write_all(b"hello")?;
    let mut response = [0; RESPONSE];
    stream.read_exact(&mut response)?;
    if goodbye {
        stream.conn.send_close_notify();
        stream.flush()?;
        // Waits for theirs.
        while stream.read(&mut response)? > 0 {}
    }
    hang_up(stream.sock);
    Ok(())
}

/// The close that the agent must name.
#[inline(never)]
fn hang_up(socket: TcpStream) {
    drop(socket); // LINE: tls hang_up
    // No jump into drop: the frame must be there.
    std::hint::black_box(());
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
