"""Memory of every kind with the secret in it: heap, private and shared maps, across fork; and a mapped file."""
# ruff: noqa: T201 - it talks to its test

import mmap
import os
import sys
import tempfile

secret = sys.stdin.readline().strip().encode()
private = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
shared = mmap.mmap(-1, 1 << 20)
private[5000 : 5000 + len(secret)] = secret
shared[9000 : 9000 + len(secret)] = secret

ours, theirs = os.pipe()
child = os.fork()
if child == 0:
    os.close(theirs)
    shared[0:4] = b"seen"
    private[0:4] = b"mine"
    os.read(ours, 1)
    os._exit(private[5000 : 5000 + len(secret)] != secret)

print("ready", flush=True)
sys.stdin.readline()
os.close(theirs)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shared[0:4], private[0:4])

with tempfile.TemporaryFile() as file:
    file.truncate(10000)
    mapped = mmap.mmap(file.fileno(), 10000)
    mapped[4090:4100] = b"0123456789"
    mapped.flush()
    file.seek(4090)
    print(file.read(10))
    copy = mmap.mmap(file.fileno(), 10000, access=mmap.ACCESS_COPY)
    copy[4090] = 65
    print(copy[4090:4100], mapped[4090:4100])
private.resize(4 << 20)
print(private[5000 : 5000 + len(secret)] == secret, private[3 << 20])
private.madvise(mmap.MADV_DONTNEED, 4096, 4096)
print(private[5000], private[4095], private[0:4])
blocks = [bytearray(number * 1000) for number in range(300)]
print(sum(map(len, blocks)))
