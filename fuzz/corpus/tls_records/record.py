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
            return action(*arguments) 