"""A listener with a connection that nobody accepts, and others that stay in SYN_RECV: their client
never answers the SYN-ACK.

Needs root and a network namespace of its own, with 10.9.9.1/24 on an interface that leads nowhere.
"""
import socket
import struct
import sys
import time

HERE, NOBODY = "10.9.9.1", "10.9.9.77"


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(source_port, port):
    """IPv4 and TCP headers (RFC 791, RFC 9293) of a SYN that nobody sent."""
    source, here = socket.inet_aton(NOBODY), socket.inet_aton(HERE)
    fields = (source_port, port, 1000, 0, 5 << 4, 0x02, 65535)
    pseudo = source + here + struct.pack("!BBH", 0, socket.IPPROTO_TCP, 20)
    tcp = struct.pack("!HHIIBBHHH", *fields, checksum(pseudo + struct.pack("!HHIIBBHHH", *fields, 0, 0)), 0)
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0, source, here) + tcp


count, name = int(sys.argv[1]), sys.argv[2]
with open("/proc/self/comm", "w") as comm:
    comm.write(name)
listener = socket.socket()
listener.bind((HERE, 0))
listener.listen(128)
port = listener.getsockname()[1]
# One that is in the queue, and given up.
socket.create_connection((HERE, port)).close()
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for client in range(count):
    raw.sendto(syn(20000 + client, port), (HERE, 0))
print("ready", port, flush=True)
time.sleep(60)
