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


def cut(body, count):
    bounds = [len(body) * at // count for at in range(count + 1)]
    return [body[begin:end] for begin, end in zip(bounds, bounds[1:])]


def sendmmsg(sock, bodies, count=2):
    """Sends messages of `count` pieces each with one call; gives back the bytes that it took."""
    pieces = [(Piece * count)(*[Piece(piece, len(piece)) for piece in cut(body, count)]) for body in bodies]
    messages = (Message * len(bodies))(*[Message(None, 0, all_of, count, None, 0, 0, 0) for all_of in pieces])
    while True:
        sent = libc.sendmmsg(sock.fileno(), messages, len(messages), 0)
        if sent >= 0:
            return sum(message.sent for message in messages[:sent])
        if ctypes.get_errno() != errno.EAGAIN:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        select.select([], [sock], [])
