"""Two processes that speak TLS records without TLS: bodies are a marker, nothing is encrypted.

So every way to hand records to the kernel can be tried: system calls, splits, several at once.
"""

import argparse
import os
import select
import socket
import struct
import time

import peers

MARKER = b"Zq7~vK3!xW9@pJ5#hB2$nM8%tD4"

arguments = argparse.ArgumentParser()
arguments.add_argument("--server", required=True, help="name of the server's process")
arguments.add_argument("--client", required=True, help="name of the client's process")
arguments.add_argument("--send", default="send")
arguments.add_argument("--receive", default="recv")
arguments.add_argument("--end", default="none")
arguments.add_argument("--linger", type=float, default=0, help="seconds from the end of a stream to the close")
arguments.add_argument("--count", type=int, default=1)
arguments.add_argument("--hold", type=float, default=0, help="seconds that the server keeps its sockets open")
arguments.add_argument("--half", action="store_true", help="the server ends its direction, and both keep their sockets")
options = arguments.parse_args()


def record(kind, length):
    body = (MARKER * (length // len(MARKER) + 1))[:length]
    return struct.pack(">BHH", kind, 0x0303, length) + body


GOODBYE_13 = record(23, 19)
ENDS = {
    "none": b"",
    "clean": GOODBYE_13,
    "padded": record(23, 35) + record(23, 35),
    "could_be_data": record(23, 35),
    "data_after": GOODBYE_13 + record(23, 700),
    "half": GOODBYE_13[:20],
    "reset": b"",
    "one_shot": GOODBYE_13,
}
CLIENT = [record(22, 300), record(20, 1), record(23, 53)] + [record(23, 100 + at) for at in range(40)]
SERVER = [record(22, 122), record(20, 1), record(23, 900), record(23, 2000)]
if options.send == "sendmmsg_full":
    CLIENT += [record(23, 1400)] * 300
if options.send == "many":
    # More records than one call is followed for.
    CLIENT += [record(23, 41)] * 2000


def chunks(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def send(sock, data):
    """Sends everything in the way that was asked for."""
    way = options.send
    if way == "write":
        while data:
            data = data[os.write(sock.fileno(), data) :]
    elif way == "writev":
        # Pieces that split headers and bodies.
        while data:
            data = data[os.writev(sock.fileno(), chunks(data, 6)[:300]) :]
    elif way == "sendmsg":
        while data:
            data = data[sock.sendmsg(chunks(data, 7)[:300]) :]
    elif way.startswith("sendmmsg"):
        from sendmmsg import sendmmsg

        # Messages of which some, where the buffers are full, are sent in part or not at all.
        size = 1000 if way == "sendmmsg_full" else 110
        pieces = {"sendmmsg_16": 16, "sendmmsg_17": 17}.get(way, 2)
        while data:
            data = data[sendmmsg(sock, chunks(data, size)[:20], pieces) :]
    elif way == "bytewise":
        # TLS is recognised by five bytes in one piece.
        sock.send(data[:5])
        for byte in chunks(data[5:], 1):
            sock.send(byte)
    elif way == "uring":
        import uring

        while data:
            data = data[uring.send(sock, data) :]
    else:
        sock.sendall(data)


def receive(sock, wanted):
    """Reads `wanted` bytes, or up to the end."""
    way = options.receive
    total = 0
    while wanted is None or total < wanted:
        left = 1 << 16 if wanted is None else wanted - total
        if way == "read":
            got = len(os.read(sock.fileno(), min(left, 1000)))
        elif way == "readv":
            got = os.readv(sock.fileno(), [bytearray(min(left, size)) for size in (6, 4, 990)])
        elif way == "recvmsg":
            got = len(sock.recvmsg(left)[0])
        elif way == "peek":
            sock.recv(5, socket.MSG_PEEK)
            got = len(sock.recv(left))
        elif way == "bytewise":
            got = len(sock.recv(1 if total else 5))
        elif way == "truncate":
            got = len(sock.recv(left, socket.MSG_TRUNC))
        elif way == "header_first":
            header = sock.recv(5, socket.MSG_WAITALL)
            body = sock.recv(struct.unpack(">H", header[3:])[0], socket.MSG_WAITALL) if len(header) == 5 else b""
            got = len(header) + len(body)
        elif way == "uring":
            import uring

            got = uring.receive(sock, left)
        else:
            got = len(sock.recv(left))
        if got == 0:
            return
        total += got


SOL_TLS = 282
TCP_ULP = 31
TLS_TX, TLS_RX = 1, 2
SET_RECORD_TYPE = 1
ALERT = b"\x15"
# close_notify, and internal_error, which is fatal.
KERNEL_ALERTS = {"clean": b"\x01\x00", "fatal": b"\x02\x50"}


def into_the_kernel(sock):
    """From here on the kernel makes the records: TLS 1.3, AES-GCM, a key that both sides know."""
    sock.setsockopt(socket.SOL_TCP, TCP_ULP, b"tls")
    keys = struct.pack("HH8s16s4s8s", 0x0304, 51, b"i" * 8, b"k" * 16, b"s" * 4, bytes(8))
    sock.setsockopt(SOL_TLS, TLS_TX, keys)
    sock.setsockopt(SOL_TLS, TLS_RX, keys)


def receive_by_kernel(sock, wanted):
    """Reads `wanted` bytes, or up to the end. It asks for the type of each record, as alerts come to nobody else."""
    total = 0
    while wanted is None or total < wanted:
        data = sock.recvmsg(1 << 16, 64)[0]
        total += len(data)
        if not data:
            return


# What is said in clear before the records, and whether the client says it.
DIALOGUES = {
    "starttls": [
        (False, b"220 mail.example.org ESMTP\r\n"),
        (True, b"EHLO example.net\r\n"),
        (False, b"250-mail.example.org\r\n250 STARTTLS\r\n"),
        (True, b"STARTTLS\r\n"),
        (False, b"220 2.0.0 ready when you are\r\n"),
    ],
    "proxy": [(True, b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n")],
    "connect": [
        (True, b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"),
        (False, b"HTTP/1.1 200 Connection established\r\n\r\n"),
    ],
}


def talk_in_clear(sock, is_client):
    for by_client, line in DIALOGUES.get(options.send, []):
        if by_client == is_client:
            sock.sendall(line)
        else:
            sock.recv(len(line), socket.MSG_WAITALL)


def serve(listener):
    held = []
    for _ in range(options.count):
        sock, _ = listener.accept()
        talk_in_clear(sock, is_client=False)
        if options.send == "kernel":
            receive(sock, sum(map(len, CLIENT[:3])))
            sock.sendall(b"".join(SERVER[:3]))
            into_the_kernel(sock)
            receive_by_kernel(sock, 5000)
            sock.sendall(MARKER * 100)
        else:
            receive(sock, sum(map(len, CLIENT)))
            sock.sendall(b"".join(SERVER))
        if options.half:
            sock.sendall(ENDS[options.end])
            sock.shutdown(socket.SHUT_WR)
            held.append(sock)
            continue
        try:
            if options.send == "kernel":
                receive_by_kernel(sock, None)
            else:
                receive(sock, None)
        except ConnectionResetError:
            pass
        time.sleep(options.linger)
        if options.hold:
            held.append(sock)
        else:
            sock.close()
    if held:
        print("holding", len(held), flush=True)
        time.sleep(options.hold)


def talk_by_kernel(sock):
    sock.sendall(b"".join(CLIENT[:3]))
    receive(sock, sum(map(len, SERVER[:3])))
    into_the_kernel(sock)
    sock.sendall(b"q" * 5000)
    receive_by_kernel(sock, len(MARKER) * 100)
    if options.end in KERNEL_ALERTS:
        sock.sendmsg([KERNEL_ALERTS[options.end]], [(SOL_TLS, SET_RECORD_TYPE, ALERT)])
    sock.close()


def connect(port):
    held = []
    for _ in range(options.count):
        sock = socket.create_connection(("127.0.0.1", port))
        if options.send == "sendmmsg_full":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setblocking(False)
        talk_in_clear(sock, is_client=True)
        if options.send == "kernel":
            talk_by_kernel(sock)
            continue
        if options.send == "sendfile":
            sock.sendall(b"".join(CLIENT[:-1]))
            with open("/tmp/" + options.client, "wb+") as file:
                file.write(CLIENT[-1])
                file.flush()
                os.sendfile(sock.fileno(), file.fileno(), 0, len(CLIENT[-1]))
            os.unlink("/tmp/" + options.client)
        else:
            send(sock, b"".join(CLIENT))
            sock.setblocking(True)
        left = sum(map(len, SERVER))
        if options.end == "one_shot":
            # It says goodbye, and hangs up on what the other side is still saying.
            left = sum(map(len, SERVER[:-1]))
            select.select([sock], [], [])
        while left:
            left -= len(sock.recv(left))
        if options.half:
            held.append(sock)
            continue
        if ENDS[options.end]:
            send(sock, ENDS[options.end])
        if options.end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    if held:
        time.sleep(options.hold)


listener = socket.create_server(("127.0.0.1", 0), backlog=64)
if options.send == "sendmmsg_full":
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
peers.run(options, listener, serve, connect)
print("done", flush=True)
