"""A launcher that ends a connection by a reset, and becomes another program when the file GO is there.

`launcher.py GO PROGRAM [ARGUMENT]…`
"""
import os
import socket
import struct
import sys
import time

go, program = sys.argv[1], sys.argv[2]
with socket.create_server(("127.0.0.1", 0)) as listener:
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    server.close()
print("launches", flush=True)
while not os.path.exists(go):
    time.sleep(0.05)
os.execv(program, sys.argv[2:])
