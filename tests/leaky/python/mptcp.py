"""An MPTCP client whose server speaks plain TCP: the kernel falls back, and keeps a TCP socket without a descriptor of its own.

usage: mptcp.py --count N --for SECONDS
"""

import argparse
import os
import socket
import time

IPPROTO_MPTCP = 262


def connect(address):
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    client.connect(address)  # LINE: mptcp opened
    return client


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--for", dest="seconds", type=float, required=True)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    address = listener.getsockname()
    if os.fork() == 0:
        for _ in range(options.count):
            listener.accept()[0].close()
        os._exit(0)
    listener.close()
    held = []
    for _ in range(options.count):
        held.append(connect(address))
        while held[-1].recv(100):
            pass
    print(f"ready {len(held)}", flush=True)
    time.sleep(options.seconds)


main()
