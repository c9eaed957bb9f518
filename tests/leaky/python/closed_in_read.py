"""Resets connections by close() while another thread waits in read() for them, which then lets go of them last."""

import os
import socket
import struct
import sys
import threading
import time

with open("/proc/self/comm", "w") as comm:
    comm.write(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))


def is_waiting(thread, fd):
    with open(f"/proc/self/task/{thread.native_id}/syscall") as call:
        return call.read().split()[1:2] == [hex(fd)]


for _ in range(int(sys.argv[2])):
    client = socket.create_connection(listener.getsockname())
    fd = listener.accept()[0].detach()
    with socket.socket(fileno=os.dup(fd)) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reader = threading.Thread(target=os.read, args=(fd, 9))
    reader.start()
    while not is_waiting(reader, fd):
        time.sleep(0.001)
    os.close(fd)
    client.sendall(b"x")
    reader.join()
    try:
        sys.exit(f"no reset but {client.recv(9)!r}")
    except ConnectionResetError:
        client.close()
print("done", flush=True)
