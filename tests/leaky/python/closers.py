"""Clients that leak, where a close() seems to have been called on them: `closers.py WAY COUNT SECONDS GO`;
it begins when the file GO is there.

`address`: other sockets to the same server were closed before, in vain, and new ones have their addresses in the
kernel's memory now. `dup2`: each was to be replaced by a descriptor that was not open, which fails.
"""
import ctypes
import os
import socket
import sys
import time

way, count, seconds, go = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
listener = socket.create_server(("127.0.0.1", 0), backlog=256)


def dial():
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    return client, server


def close_in_vain():
    pairs = [dial() for _ in range(4 * count)]
    child = os.fork()
    if child == 0:
        for _, server in pairs:
            server.close()
        time.sleep(0.3)
        os._exit(0)
    for client, server in pairs:
        client.close()
        server.close()
    # Last of all, so that theirs are the addresses which come first.
    os.waitpid(child, 0)


held = []
print("listening", flush=True)
while not os.path.exists(go):
    time.sleep(0.05)
if way == "address":
    close_in_vain()
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(count):
    client, server = dial()
    server.close()
    client.recv(1)
    held.append(client)
    if way == "dup2":
        held.append(client.dup())
        assert libc.dup2(-1, client.fileno()) == -1
print(f"ready {count}", flush=True)
time.sleep(seconds)
