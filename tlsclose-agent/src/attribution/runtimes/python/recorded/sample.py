"""Code of many shapes, for its line tables. Never run: only compiled."""
import socket
from contextlib import contextmanager

CONSTANT = [
    1,
    2,
    {"a": socket, "b": [socket.AF_INET,
                        socket.AF_INET6]},
]


def simple(a, b=2): return a + b


def calls_over_lines(sock):
    return sock.connect(
        (
            "127.0.0.1",
            int(
                "80",
            ),
        ),
    )


class Server:
    """A class."""

    attribute = lambda self: \
        self.listener

    @property
    def decorated(self):
        return [
            connection
            for connection in self.connections
            if connection.fileno() > 0
        ]

    @contextmanager
    def opened(self, *arguments, **named):
        try:
            with socket.socket(*arguments) as first, \
                    socket.socket(**named) as second:
                yield first, second
        except (OSError,
                ValueError) as error:
            print(error)
            raise
        finally:
            print("closed")

    async def answer(self, reader, writer):
        async for line in reader:
            if not line:
                break
            elif line == b"x":
                continue
            writer.write(line
                         .upper()
                         .strip())
            await writer.drain()
        else:
            return None
        async with self.lock:
            return {key: value for key, value in self.items()}


def loops(n):
    total = 0
    while n:
        n -= 1
        for i in range(n):
            if i % 2:
                total += i
            else:
                total -= \
                    i

        # Far below: more than a signed byte of lines.
































































































































































        total *= 2
    return (yield total)


def nested(x):
    def inner(y):
        nonlocal x
        x = y
        return lambda z: (
            x,
            y,
            z)
    return inner


def long_expression(a):
    return (a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h
            + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g.h + a.b.c.d.e.f.g
            + a["k"]["l"]["m"](1, 2, 3, *a, k=4) + f"{a!r:>{10}} {a}" + (a if a else -a) + (a and not a or a))


if __name__ == "__main__":
    simple(1)
