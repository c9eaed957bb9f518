"""Records the bytes of TLS connections between real libraries, both directions, for the tests of the record walker.

    python3 record.py

writes NAME.client and NAME.server beside itself: what each side has sent. `openssl` is Python's own library at both
ends, `gnutls` that of gnutls-serv at the server's. `clean` ends by a close_notify of both sides, `raw` by none.
"""

import pathlib
import socket
import ssl
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).parent
REQUEST = b"GET /orders HTTP/1.1\r\nHost: example.org\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1200\r\n\r\n" + b"orders, " * 150

SESSIONS = {
    "openssl-1.3": (ssl.TLSVersion.TLSv1_3, None),
    "openssl-1.2-aes-gcm": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    "openssl-1.2-chacha20": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    "openssl-1.2-aes-cbc": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"),
}


class Side:
    """One end of a connection, in memory."""

    def __init__(self, context, **arguments):
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.inward, self.outward, **arguments)
        self.sent = b""

    def take(self):
        data = self.outward.read()
        self.sent += data
        return data

    def step(self, action, *arguments):
        """What came of it; None if it waits for the other side."""
        try:
            return action(*arguments) or True
        except ssl.SSLWantReadError:
            return None


def client_context(version, cipher):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if cipher:
        context.set_ciphers(cipher)
    return context


def server_context(directory, version, cipher):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    context.minimum_version = context.maximum_version = version
    if cipher:
        context.set_ciphers(cipher)
    return context


def in_memory(directory, version, cipher, is_clean):
    client = Side(client_context(version, cipher))
    server = Side(server_context(directory, version, cipher), server_side=True)

    def exchange():
        server.inward.write(client.take())
        client.inward.write(server.take())

    done = {}
    while len(done) < 2:
        for side in (client, server):
            if side not in done and side.step(side.tls.do_handshake):
                done[side] = True
        exchange()
    for sender, receiver, data in ((client, server, REQUEST), (server, client, ANSWER)):
        sender.tls.write(data)
        exchange()
        assert receiver.tls.read(len(data)) == data
    if is_clean:
        for side in (client, server, client):
            side.step(side.tls.unwrap)
            exchange()
    return client.sent, server.sent


def with_gnutls(directory, is_clean):
    """gnutls-serv sends back what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["gnutls-serv", "--quiet", "--echo", "--port", str(port)]
    command += [f"--x509certfile={directory / 'cert.pem'}", f"--x509keyfile={directory / 'key.pem'}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _ in range(50):
            try:
                wire = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        client, received = Side(client_context(ssl.TLSVersion.TLSv1_3, None)), b""

        def until(action, *arguments):
            nonlocal received
            while (result := client.step(action, *arguments)) is None:
                wire.sendall(client.take())
                data = wire.recv(1 << 16)
                received += data
                if not data:
                    return None
                client.inward.write(data)
            wire.sendall(client.take())
            return result

        until(client.tls.do_handshake)
        until(client.tls.write, REQUEST)
        until(client.tls.read, len(REQUEST))
        if is_clean:
            until(client.tls.unwrap)
        wire.close()
        server.terminate()
    return client.sent, received


def write(name, streams):
    for side, data in zip(("client", "server"), streams):
        (HERE / f"{name}.{side}").write_bytes(data)


with tempfile.TemporaryDirectory() as directory:
    directory = pathlib.Path(directory)
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    subprocess.run([*make.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=directory, check=True, stderr=subprocess.DEVNULL)
    for end, is_clean in (("clean", True), ("raw", False)):
        for name, (version, cipher) in SESSIONS.items():
            write(f"{name}-{end}", in_memory(directory, version, cipher, is_clean))
        write(f"gnutls-1.3-{end}", with_gnutls(directory, is_clean))
