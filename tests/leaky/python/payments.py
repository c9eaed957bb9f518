"""A payments service behind a TLS proxy: the handler ends its connections below TLS, and the proxy
keeps its own ends of them for a next request that never comes."""

import argparse
import os
import socket
import ssl
import sys
import time

arguments = argparse.ArgumentParser()
arguments.add_argument("--handler", required=True, help="name of the handler's process")
arguments.add_argument("--proxy", required=True, help="name of the proxy's process")
arguments.add_argument("--certificate", required=True, help="certificate and key, as PEM")
arguments.add_argument("--count", type=int, default=1)
arguments.add_argument("--hold", type=float, default=60, help="seconds that the proxy lives on")
options = arguments.parse_args()
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npaid"


def call_myself(name):
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)


def start(name, serve, *its):
    child = os.fork()
    if child == 0:
        call_myself(name)
        serve(*its)
        sys.exit()
    return child


def pay(connection):
    connection.recv(4096)
    connection.sendall(RESPONSE)
    os.close(connection.detach())  # LINE: payments closed


def handle(listener):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate)
    for _ in range(options.count):
        pay(context.wrap_socket(listener.accept()[0], server_side=True))


def forward(context, port, request):
    upstream = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
    upstream.sendall(request)
    answer = b""
    while len(answer) < len(RESPONSE):
        answer += upstream.recv(4096)
    return upstream, answer


def proxy(listener, port):
    context = ssl.create_default_context(cafile=options.certificate)
    pool = []
    for _ in range(options.count):
        customer = listener.accept()[0]
        upstream, answer = forward(context, port, customer.recv(4096))
        customer.sendall(answer)
        customer.close()
        pool.append(upstream)
    time.sleep(options.hold)


def buy(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /pay HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
        assert answer == RESPONSE, answer


inner = socket.create_server(("127.0.0.1", 0), backlog=64)
outer = socket.create_server(("127.0.0.1", 0), backlog=64)
handler = start(options.handler, handle, inner)
middle = start(options.proxy, proxy, outer, inner.getsockname()[1])
for _ in range(options.count):
    buy(outer.getsockname()[1])
    time.sleep(0.05)  # whoever watches has to learn first that this is Python
print("handler", handler, flush=True)
print("proxy", middle, flush=True)
print("paid", options.count, flush=True)
os.waitpid(middle, 0)
