"""A server and a client in two processes, under the names that they are given."""

import os
import sys


def call_myself(name):
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)


def run(options, listener, serve, connect):
    """Says how the client ended, once the server has served it."""
    child = os.fork()
    if child == 0:
        call_myself(options.client)
        port = listener.getsockname()[1]
        listener.close()
        connect(port)
        sys.exit()
    call_myself(options.server)
    serve(listener)
    _, ended = os.waitpid(child, 0)
    return ended
