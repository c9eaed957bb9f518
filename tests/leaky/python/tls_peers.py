"""A TLS server and a TLS client of the Python library, which end their connections as asked."""

import argparse
import os
import resource
import select
import signal
import socket
import ssl
import struct
import sys

import peers

arguments = argparse.ArgumentParser()
arguments.add_argument("--server", required=True, help="name of the server's process")
arguments.add_argument("--client", required=True, help="name of the client's process")
arguments.add_argument("--certificate", required=True, help="certificate and key, as PEM")
arguments.add_argument("--version", default="1.3")
arguments.add_argument("--ciphers")
arguments.add_argument("--end", default="close", help="close, unwrap, with, reset, one_shot, kill or check")
arguments.add_argument("--alert", action="store_true", help="the server answers a truncation with a fatal alert")
arguments.add_argument("--unread", action="store_true", help="the server of one_shot does not read the goodbye")
arguments.add_argument("--count", type=int, default=1)
options = arguments.parse_args()
RESPONSE = 3000


VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def limit(context):
    context.minimum_version = context.maximum_version = VERSIONS[options.version]
    if options.ciphers:
        context.set_ciphers(options.ciphers)
    return context


def serve(listener):
    context = limit(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(options.certificate)
    # What is the default differs between builds of Python.
    if options.alert:
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    else:
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    held = []
    for _ in range(options.count):
        plain, _ = listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = context.wrap_socket(plain, server_side=True)
        if connection.recv(100):
            connection.sendall(b"x" * RESPONSE)
        if options.end == "kill":
            held.append(connection)
        else:
            finish(connection)
    for connection in held:
        finish(connection)


def finish(connection):
    if options.end == "one_shot":
        cross(connection)
    try:
        while not options.unread and connection.recv(100):
            pass
        if options.end == "unwrap":
            connection.unwrap()
    except OSError:
        pass
    connection.close()


def cross(connection):
    """Sends as if what the client said last had not arrived yet. It has closed: its kernel answers with a reset."""
    await_events(connection, select.POLLRDHUP)
    connection.sendall(b"x" * RESPONSE)
    await_events(connection, select.POLLERR | select.POLLHUP)


def await_events(connection, events):
    poll = select.poll()
    poll.register(connection, events)
    if not poll.poll(20_000):
        sys.exit(f"no events {events:#x}")


def shake_hands(context, port):
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname="localhost")


def check(context, port):
    """As a health checker does, which sends nothing."""
    connection = shake_hands(context, port)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4096):
        pass
    connection.close()


def request(context, port):
    connection = shake_hands(context, port)
    connection.sendall(b"hello")
    left = RESPONSE
    while left:
        left -= len(connection.recv(left))
    return connection


def connect(port):
    context = limit(ssl.create_default_context(cafile=options.certificate))
    held = []
    for _ in range(options.count):
        if options.end == "check":
            check(context, port)
            continue
        connection = request(context, port)
        if options.end == "unwrap":
            connection.unwrap()
        elif options.end == "with":
            with connection:
                pass
        elif options.end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif options.end == "one_shot":
            say_goodbye(connection)
        elif options.end == "kill":
            held.append(connection)
            continue
        connection.close()
    if options.end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def say_goodbye(connection):
    """Does not wait for the answer."""
    connection.setblocking(False)
    try:
        connection.unwrap()
    except ssl.SSLWantReadError:
        return
    sys.exit("the answer was there")


_, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
ended = peers.run(options, listener, serve, connect)
if ended != (signal.SIGKILL if options.end == "kill" else 0):
    sys.exit(f"the client ended by {ended:#x}")
print("done", flush=True)
