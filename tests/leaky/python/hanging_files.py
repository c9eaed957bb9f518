"""One file, by FUSE, that hangs for one process and for nobody else.

    hanging_files.py MOUNT FILE open|read PID

Serves a copy of FILE in the directory MOUNT, which it mounts, and does not answer when the process
PID opens it, or when it reads. Says "mounted", and goes on until it is killed.
"""

import ctypes
import errno
import os
import struct
import sys

# include/uapi/linux/fuse.h
FORGET, LOOKUP, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR = 2, 1, 3, 14, 15, 17, 18, 25, 26, 27
INTERRUPT, BATCH_FORGET = 36, 42
KEEP_CACHE = 1 << 1
ROOT, ONLY = 1, 2
FOR_EVER = 1 << 30


def attributes(node, size):
    mode = 0o040755 if node == ROOT else 0o100755
    return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def is_of(process, thread):
    try:
        with open(f"/proc/{thread}/status") as status:
            return any(line.split() == ["Tgid:", str(process)] for line in status)
    except OSError:
        return False


def main():
    mount, path, hangs_at, process = sys.argv[1:]
    with open(path, "rb") as file:
        contents = file.read()
    name = os.path.basename(path).encode()
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tlsclose", mount.encode(), b"fuse.tlsclose", 0, options.encode()) != 0:
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    print("mounted", flush=True)
    hangs = {"open": OPEN, "read": READ}[hangs_at]
    while True:
        request = os.read(device, 1 << 20)
        _, what, unique, node, _, _, thread = struct.unpack_from("<IIQQIII", request)
        body = request[40:]
        if what in (FORGET, BATCH_FORGET, INTERRUPT) or what == hangs and is_of(process, thread):
            continue
        error, answer = 0, b""
        if what == INIT:
            answer = struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 16, 12, 1 << 17, 1, 32, 0, 0)
        elif what == LOOKUP and body.rstrip(b"\0") == name:
            answer = struct.pack("<QQQQII", ONLY, 0, FOR_EVER, FOR_EVER, 0, 0) + attributes(ONLY, len(contents))
        elif what == LOOKUP:
            error = errno.ENOENT
        elif what == GETATTR:
            answer = struct.pack("<QII", FOR_EVER, 0, 0) + attributes(node, len(contents) if node == ONLY else 0)
        elif what in (OPEN, OPENDIR):
            answer = struct.pack("<QII", 1, KEEP_CACHE, 0)
        elif what == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            answer = contents[offset : offset + size]
        elif what == STATFS:
            answer = struct.pack("<QQQQQIIII24x", 1, 1, 1, 1, 1, 4096, 255, 4096, 0)
        elif what not in (RELEASE, FLUSH):
            error = errno.ENOSYS
        os.write(device, struct.pack("<IiQ", 16 + len(answer), -error, unique) + answer)


if __name__ == "__main__":
    main()
