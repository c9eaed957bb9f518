"""One side of TLS connections, which ends them as asked, after one question and one answer.

The other side is a program that people run. As a client this asks a server; as a server it answers one client after the
other, until it has answered all.
"""

import argparse
import os
import signal
import socket
import ssl
import struct

arguments = argparse.ArgumentParser()
arguments.add_argument("role", help="client or server")
arguments.add_argument("--port", type=int, default=0)
arguments.add_argument("--say", required=True, help="the question, or the answer")
arguments.add_argument("--certificate", required=True, help="that of the server, as PEM, and its key")
arguments.add_argument("--version")
arguments.add_argument("--ciphers")
arguments.add_argument("--end", required=True, help="unwrap, close, one_shot, reset, kill or wait")
arguments.add_argument("--count", type=int, required=True)
options = arguments.parse_args()
WORDS = options.say.encode().decode("unicode_escape").encode()


def limit(context):
    if options.version:
        context.minimum_version = context.maximum_version = VERSIONS[options.version]
    if options.ciphers:
        context.set_ciphers(options.ciphers)
    return context


VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def unwrap(connection):
    try:
        connection.unwrap()
    except OSError:
        pass  # There is no answer, or not yet.
    connection.close()


def one_shot(connection):
    connection.setblocking(False)
    unwrap(connection)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def kill(connection):
    os.kill(os.getpid(), signal.SIGKILL)


def wait(connection):
    while connection.recv(65536):
        pass
    connection.close()


ENDS = {"unwrap": unwrap, "close": ssl.SSLSocket.close, "one_shot": one_shot, "reset": reset, "kill": kill, "wait": wait}


def ask(context):
    plain = socket.create_connection(("127.0.0.1", options.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.sendall(WORDS)
    if not connection.recv(65536):
        raise SystemExit("no answer")
    return connection


def answer(context, listener):
    plain, _ = listener.accept()
    connection = context.wrap_socket(plain, server_side=True)
    if not connection.recv(65536):
        raise SystemExit("no question")
    connection.sendall(WORDS)
    return connection


if options.role == "client":
    context = limit(ssl.create_default_context(cafile=options.certificate))
    for _ in range(options.count):
        # Some of the servers serve one after the other.
        if options.end == "kill" and os.fork():
            os.wait()
            continue
        ENDS[options.end](ask(context))
else:
    context = limit(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(options.certificate)
    listener = socket.create_server(("127.0.0.1", options.port))
    print("port", listener.getsockname()[1], flush=True)
    for _ in range(options.count):
        ENDS[options.end](answer(context, listener))
print("done", flush=True)
