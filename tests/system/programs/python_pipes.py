"""What pipes and socket pairs do, one line each: the same natively and sealed."""

import errno
import fcntl
import multiprocessing
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection


def waiting(number: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(number, termios.FIONREAD, b"\0" * 4))[0])


def error_of(act: Callable[[], object]) -> str:
    try:
        return f"nothing: {act()!r}"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def read_all(number: int, size: int = 65536) -> bytes:
    pieces = []
    while piece := os.read(number, size):
        pieces.append(piece)
    return b"".join(pieces)


def write_and_close(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]
    os.close(number)


def later(act: Callable[[], object], seconds: float = 0.1) -> None:
    threading.Timer(seconds, act).start()


def small_pieces() -> None:
    r, w = os.pipe()
    print("kind", stat.S_ISFIFO(os.fstat(r).st_mode), os.get_inheritable(r), fcntl.fcntl(w, fcntl.F_GETFL))
    os.write(w, b"hello")
    os.write(w, b" world")
    print("waits", waiting(r), select.select([r], [], [], 0)[0] == [r])
    print("two", os.read(r, 2), waiting(r), select.select([r], [], [], 0)[0] == [r])
    buffers = [bytearray(1), bytearray(50)]
    print("rest", os.readv(r, buffers), bytes(buffers[0] + buffers[1][:8]), waiting(r), select.select([r], [], [], 0))
    print("nothing", os.write(w, b""), os.writev(w, [b"", b""]), waiting(r))
    os.set_blocking(r, False)
    print("empty", error_of(lambda: os.read(r, 1)))
    print("wrong end", error_of(lambda: os.read(w, 1)), error_of(lambda: os.write(r, b"x")))
    print("place", error_of(lambda: os.lseek(r, 0, 0)), error_of(lambda: os.pread(r, 1, 0)))
    os.close(w)
    print("end", os.read(r, 1), os.read(r, 1))


def large_pieces() -> None:
    r, w = os.pipe()
    data = os.urandom(1_000_000)
    writer = threading.Thread(target=write_and_close, args=(w, data))
    writer.start()
    print("large", read_all(r, 70_000) == data)
    writer.join()
    r, w = os.pipe()
    os.close(r)
    print("nobody reads", error_of(lambda: os.write(w, b"x")))


def full() -> None:
    r, w = os.pipe()
    os.set_blocking(w, False)
    os.set_blocking(r, False)
    print("room for what fits natively", os.write(w, bytes(60_000)))
    while error_of(lambda: os.write(w, bytes(1000))) != "EAGAIN":
        pass
    print("full", select.select([], [w], [], 0)[1], len(os.read(r, 60_000)), select.select([], [w], [], 0)[1] == [w])
    size = 0
    while (piece := error_of(lambda: os.read(r, 777))) != "EAGAIN":
        size += len(piece) > 0
    print("drained", waiting(r), size > 0)
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 1 << 17)
    print("size", fcntl.fcntl(r, fcntl.F_GETPIPE_SZ))


def several_writers() -> None:
    r, w = os.pipe()
    for child in range(6):
        if os.fork() == 0:
            for line in range(100):
                os.write(w, b"%d-%04d\n" % (child, line))
            os._exit(0)
    os.close(w)
    lines = read_all(r, 100).splitlines()
    print("lines", sorted(lines) == sorted(b"%d-%04d" % (c, n) for c in range(6) for n in range(100)))
    print("in order", all([x for x in lines if x[:1] == b"%d" % c] == sorted(x for x in lines if x[:1] == b"%d" % c)
                          for c in range(6)))  # fmt: skip
    for _ in range(6):
        os.wait()


def several_readers() -> None:
    r, w = os.pipe()
    back, answer = os.pipe()
    for _ in range(4):
        if os.fork() == 0:
            os.close(w)
            size = 0
            while piece := os.read(r, 7):
                size += len(piece)
            os.write(answer, b"%08d" % size)
            os._exit(0)
    os.close(answer)
    for _ in range(500):
        os.write(w, b"0123456789")
    os.close(w)
    told = read_all(back)
    print("shared out", sum(int(told[at : at + 8]) for at in range(0, len(told), 8)))
    for _ in range(4):
        os.wait()


def programs() -> None:
    shell = ["sh", "-c", "read a; echo first $a; cat; echo >&2 err"]
    done = subprocess.run(shell, input=b"one\ntwo\nthree\n", capture_output=True, check=False)
    print("left for the next program", done.stdout, done.stderr)
    text = (
        "diff <(seq 5) <(seq 6); cat < <(echo again); tr a-z A-Z <<< word; cat /dev/stdin <<< here;"
        "seq 9 | tee >(wc -l >&2) | tail -1; sleep 0.2"
    )
    done = subprocess.run(["bash", "-c", text], capture_output=True, check=False)
    print("shell", done.stdout, done.stderr)
    loop = (
        "for i in 1 2 3; do echo $i; done | while read x; do echo got $x; sh -c 'exit 3' || echo $?; done;"
        "echo ${PIPESTATUS[@]}"
    )
    print("loop", subprocess.run(["bash", "-c", loop], capture_output=True, check=False).stdout)
    large = subprocess.run(["cat"], input=bytes(300_000), capture_output=True, check=False)
    print("through cat", large.stdout == bytes(300_000))
    heredoc = "cat <<END | wc -c\n" + "x" * 60_000 + "\nEND\n"
    print("heredoc", subprocess.run(["bash"], input=heredoc.encode(), capture_output=True, check=False).stdout)


def killed_writers() -> None:
    for _ in range(5):
        r, w = os.pipe()
        child = os.fork()
        if child == 0:
            while True:
                os.write(w, b"y" * 3000)
        os.read(r, 1000)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.write(w, b"and on")
        os.close(w)
        print("after a killed writer", read_all(r, 5000)[-6:])


def signals() -> None:
    ran: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, _: ran.append(number))
    signal.siginterrupt(signal.SIGALRM, False)
    r, w = os.pipe()
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    later(lambda: os.write(w, b"late"), 0.2)
    print("read goes on", os.read(r, 10), len(ran))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    data = os.urandom(400_000)
    got: list[bytes] = []
    reader = threading.Timer(0.1, lambda: got.append(read_all(r, 3000)))
    reader.start()
    done = 0
    while done < len(data):
        done += os.write(w, data[done:])
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.close(w)
    reader.join()
    print("written under signals", got == [data])


def socket_pairs() -> None:
    a, b = socket.socketpair()
    print("kind", a.type.name, a.family.name)
    a.send(b"hello world")
    print("look", b.recv(5, socket.MSG_PEEK), b.recv(3), b.recv(50, socket.MSG_PEEK), waiting(b.fileno()))
    print("rest", b.recv(100))
    print("empty", error_of(lambda: b.recv(1, socket.MSG_DONTWAIT)))
    b.send(b"back")
    print("back", a.recv(10))
    a.send(b"stuv")
    later(lambda: a.send(b"wxyz"))
    print("all", b.recv(8, socket.MSG_WAITALL))
    data = os.urandom(500_000)
    threading.Thread(target=write_and_close, args=(a.detach(), data)).start()
    print("large", read_all(b.fileno()) == data)
    a, b = socket.socketpair()
    null = os.open("/dev/null", os.O_RDWR)
    socket.send_fds(a, [b"mes", b"sage"], [null])
    text, numbers, *_ = socket.recv_fds(b, 100, 4)
    print("descriptor", text, os.fstat(numbers[0]).st_rdev == os.fstat(null).st_rdev)
    b.close()
    print("gone", error_of(lambda: a.send(b"x")), error_of(lambda: a.sendto(b"x", "/nowhere")) != "ENOENT")


def double(connection: "Connection") -> None:
    connection.send(connection.recv() * 2)


def processes() -> None:
    for context in (multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")):
        here, there = context.Pipe()
        process = context.Process(target=double, args=(there,))
        process.start()
        here.send(21)
        print(context.get_start_method(), here.recv())
        process.join()
    with multiprocessing.get_context("fork").Pool(3) as pool:
        print("pool", pool.map(abs, range(-50, 0)) == list(range(50, 0, -1)))


if __name__ == "__main__":
    for part in (small_pieces, large_pieces, full, several_writers, several_readers, programs, killed_writers, signals,
                 socket_pairs, processes):  # fmt: skip
        part()
        sys.stdout.flush()
