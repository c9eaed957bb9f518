"""Connections within one process, all of them also held by two children: PAIRS of them."""

import ctypes
import os
import resource
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1

pairs = int(sys.argv[1])
_, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
listener = socket.create_server(("127.0.0.1", 0), backlog=16)
held = []
for _ in range(pairs):
    held.append(socket.create_connection(listener.getsockname()))
    held.append(listener.accept()[0])
for _ in range(2):
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pause()
print("ready", len(held), flush=True)
signal.pause()
