"""Leaks sockets in one known way each: `leaky.py WAY [--count N] [--rate PER_SECOND] [--for SECONDS] [--threads N]`.

The other end is a process of its own, so that every socket of the first PID is one that it leaks.
"""
import argparse
import asyncio
import os
import signal
import socket
import threading
import time

kept = []


class EofForget:
    """A server that reads to the end of the stream and forgets the connection."""

    def accept(self, listener):
        connection, _ = listener.accept()  # LINE: eof_forget opened
        return connection

    def handle(self, connection):
        while True:
            data = connection.recv(100)  # LINE: eof_forget touched
            if not data:
                break

    def finish(self, connection):
        connection.close()  # LINE: eof_forget closed

    def serve(self, listener, count):
        for number in range(count):
            connection = self.accept(listener)  # LINE: eof_forget opened caller
            self.handle(connection)  # LINE: eof_forget touched caller
            if (number + 1) % options.leak_every:
                self.finish(connection)
            else:
                kept.append(connection)


class ClientHalfClose:
    """A client that ends its side, and waits for a server that never ends its own."""

    def connect(self, port):
        connection = socket.socket()
        connection.connect((  # LINE: client_half_close opened
            "127.0.0.1",
            port,
        ))
        return connection

    def finish(self, connection):
        connection.shutdown(socket.SHUT_WR)  # LINE: client_half_close touched

    def connect_all(self, port, count):
        for _ in range(count):
            connection = self.connect(port)  # LINE: client_half_close opened caller
            connection.sendall(b"ping")
            self.finish(connection)  # LINE: client_half_close touched caller
            kept.append(connection)
            pause()


class Generated:
    """Functions made at run time and gone after one call, each at another line of the same file."""

    LINES = (3, 40, 300)

    def serve(self, listener, count):
        addresses = set()
        for number in range(count):
            line = self.LINES[number % len(self.LINES)]
            source = "\n" * (line - 2) + f"def at_{line}(listener):\n    return listener.accept()[0]"
            names = {}
            exec(compile(source, "generated.py", "exec"), names)
            # Out of the dictionary that it refers to itself, so that it is freed at once.
            function = names.pop(f"at_{line}")
            addresses.add(id(function.__code__))
            kept.append(function(listener))
            del function
        print("addresses", len(addresses), flush=True)


def dive(listener, depth):
    if depth == 0:
        return listener.accept()[0]  # LINE: deep opened
    return dive(listener, depth - 1)  # LINE: deep opened caller


def serve_deep(listener, count):
    for _ in range(count):
        kept.append(dive(listener, 100))


async def aio_connect(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # LINE: asyncio opened
    return reader, writer


async def aio_finish(writer):
    writer.write_eof()  # LINE: asyncio touched


async def aio_connect_all(port):
    for _ in range(options.count):
        reader, writer = await aio_connect(port)  # LINE: asyncio opened caller
        await aio_finish(writer)  # LINE: asyncio touched caller
        kept.append((reader, writer))
        await asyncio.sleep(1 / options.rate)
    ready()
    await asyncio.sleep(options.lifetime)


async def aio_handle(reader, writer):
    while await reader.read(100):
        writer.write(b"pong")  # LINE: asyncio_server sent
    kept.append(writer)


async def aio_handle_rarely(reader, writer):
    while await reader.read(100):
        writer.write(b"seldom")  # LINE: asyncio_server sent elsewhere
    kept.append(writer)


async def aio_serve(listener):
    def handle(reader, writer):
        handler = aio_handle_rarely if len(kept) % 3 == 0 else aio_handle
        return handler(reader, writer)

    server = await asyncio.start_server(handle, sock=listener)
    while len(kept) < options.count:
        await asyncio.sleep(0.05)
    ready()
    await asyncio.sleep(options.lifetime)
    server.close()


def listen():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener, listener.getsockname()[1]


def peer(role):
    """Runs `role` in another process, which ends with this one."""
    read_end, write_end = os.pipe()
    if os.fork() > 0:
        os.close(read_end)
        return
    os.close(write_end)
    threading.Thread(target=role, daemon=True).start()
    os.read(read_end, 1)
    os._exit(0)


def silent_server(listener):
    while True:
        kept.append(listener.accept()[0])


def polite_client(port):
    for _ in range(options.count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"ping")
        if options.way == "asyncio_server":
            connection.recv(100)
        connection.close()
        pause()


def prefork(listener):
    """Leaves the work to another process, as servers with workers do."""
    time.sleep(1)
    worker = os.fork()
    if worker > 0:
        print("worker", worker, flush=True)
        os.waitpid(worker, 0)
        os._exit(0)
    signal.alarm(int(options.lifetime))


def pause():
    time.sleep(1 / options.rate)


def ready():
    print("ready", options.count // options.leak_every, flush=True)


def by_threads(work, *arguments):
    """Does the work in as many threads, each an equal part; in this one where there are to be none."""
    if not options.threads:
        work(*arguments, options.count)
        return
    share = options.count // options.threads
    threads = [threading.Thread(target=work, args=(*arguments, share)) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    listener, port = listen()
    if options.way == "client_half_close" or options.way == "asyncio":
        peer(lambda: silent_server(listener))
        listener.close()
    else:
        peer(lambda: polite_client(port))
    if options.way == "prefork":
        prefork(listener)
    if options.way in ("eof_forget", "prefork"):
        by_threads(EofForget().serve, listener)
    elif options.way == "client_half_close":
        by_threads(ClientHalfClose().connect_all, port)
    elif options.way == "generated":
        by_threads(Generated().serve, listener)
    elif options.way == "deep":
        by_threads(serve_deep, listener)
    elif options.way == "asyncio":
        asyncio.run(aio_connect_all(port))
    elif options.way == "asyncio_server":
        asyncio.run(aio_serve(listener))  # LINE: asyncio_server loop
    if options.hand_over:
        leave_to_a_child()
    ready()
    time.sleep(options.lifetime)


def leave_to_a_child():
    child = os.fork()
    if child > 0:
        print("heir", child, flush=True)
        os._exit(0)
    signal.alarm(int(options.lifetime))


def parse():
    parser = argparse.ArgumentParser()
    ways = ["eof_forget", "prefork", "client_half_close", "generated", "deep", "asyncio", "asyncio_server"]
    parser.add_argument("way", choices=ways)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--rate", type=float, default=3)
    parser.add_argument("--for", type=float, default=30, dest="lifetime")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--hand-over", action="store_true", help="a child is left with the sockets, and this process ends")
    parser.add_argument("--leak-every", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    signal.alarm(int(options.lifetime) + 5)
    main()
