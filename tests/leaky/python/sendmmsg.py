"""sendmmsg(), which Python does not have."""

import ctypes
import errno
import select


class Piece(ctypes.Structure):
    _fields_ = [("at", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("pieces", ctypes.POINTER(Piece)),
        ("piece_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_uint64),
        ("sent", ctypes.c_uint),
    ]


libc = ctypes.CDLL(None, use_errno=True)


def sendmmsg(sock, bodies):
    """Sends messages of two pieces each with one call; gives back the bytes that it took."""
    halves = [[body[: len(body) // 2], body[len(body) // 2 :]] for body in bodies]
    pieces = [(Piece * 2)(*[Piece(half, len(half)) for half in pair]) for pair in halves]
    messages = (Message * len(bodies))(*[Message(None, 0, pair, 2, None, 0, 0, 0) for pair in pieces])
    while True:
        count = libc.sendmmsg(sock.fileno(), messages, len(messages), 0)
        if count >= 0:
            return sum(message.sent for message in messages[:count])
        if ctypes.get_errno() != errno.EAGAIN:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        select.select([], [sock], [])
