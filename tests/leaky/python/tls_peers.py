"""A TLS server and a TLS client of the Python library, which end their connections as asked."""

import argparse
import os
import signal
import socket
import ssl
import struct
import sys

arguments = argparse.ArgumentParser()
arguments.add_argument("--server", required=True, help="name of the server's process")
arguments.add_argument("--client", required=True, help="name of the client's process")
arguments.add_argument("--certificate", required=True, help="certificate and key, as PEM")
arguments.add_argument("--version", default="1.3")
arguments.add_argument("--ciphers")
arguments.add_argument("--end", default="close", help="close, unwrap, with, reset, kill or check")
arguments.add_argument("--alert", action="store_true", help="the server answers a truncation with a fatal alert")
arguments.add_argument("--count", type=int, default=1)
options = arguments.parse_args()
RESPONSE = 3000


def call_myself(name):
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)


VERSIONS = {"1.0": ssl.TLSVersion.TLSv1, "1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2}


def limit(context):
    if options.version in VERSIONS:
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
    for _ in range(1 if options.end == "kill" else options.count):
        plain, _ = listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = context.wrap_socket(plain, server_side=True)
        if connection.recv(100):
            connection.sendall(b"x" * RESPONSE)
        try:
            while connection.recv(100):
                pass
            if options.end == "unwrap":
                connection.unwrap()
        except OSError:
            pass
        connection.close()


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
        elif options.end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.close()


listener = socket.create_server(("127.0.0.1", 0), backlog=64)
child = os.fork()
if child == 0:
    call_myself(options.client)
    port = listener.getsockname()[1]
    listener.close()
    connect(port)
    sys.exit()
call_myself(options.server)
serve(listener)
os.waitpid(child, 0)
print("done", flush=True)
