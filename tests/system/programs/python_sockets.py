"""A server that knows nothing of TLS, and uses a connection in every way: `PORT CASE [WORDS]`, one connection."""

import array
import fcntl
import hashlib
import os
import select
import signal
import socket
import sys
import termios
import threading
import time

MOST = 1 << 20


def count(connection: socket.socket) -> int:
    """FIONREAD."""
    number = array.array("i", [0])
    fcntl.ioctl(connection, termios.FIONREAD, number)
    return number[0]


def readable(connection: socket.socket, seconds: float = 0) -> bool:
    return bool(select.select([connection], [], [], seconds)[0])


def pieces(connection: socket.socket) -> None:
    """The peer has sent ten digits, twelve letters, and waits."""
    assert readable(connection, 10)
    print(connection.recv(3, socket.MSG_PEEK), connection.recv(3), connection.recv(7, socket.MSG_WAITALL))
    assert readable(connection, 10)
    print(count(connection))
    into = [bytearray(2), bytearray(0), bytearray(5)]
    print(connection.recvmsg_into(into)[0], into)
    copy = socket.socket(fileno=os.dup(connection.fileno()))
    print(readable(copy), os.readv(copy.fileno(), [bytearray(1), bytearray(2)]), copy.recv(MOST))
    copy.close()
    print(readable(connection), connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT))
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError as error:
        print(error.errno)
    connection.setblocking(True)
    connection.settimeout(0.1)
    try:
        connection.recv(1)
    except TimeoutError as error:
        print(type(error).__name__)
    connection.settimeout(None)
    print(connection.sendmsg([b"ab", b"", b"c" * 40000]), os.writev(connection.fileno(), [b"d", b"e"]))
    print(connection.recv(MOST), connection.recv(MOST), readable(connection), connection.recv(MOST))


def digest_of(connection: socket.socket, wait: "select.epoll", size: int) -> str:
    """Reads in the manner of servers that wait for edges: until there is nothing, or a read was short."""
    found, total = hashlib.sha256(), 0
    while True:
        assert wait.poll(10), f"nobody says that there is more than {total} bytes"
        while True:
            try:
                data = connection.recv(size)
            except BlockingIOError:
                break
            if not data:
                return f"{total} {found.hexdigest()}"
            found.update(data)
            total += len(data)
            if len(data) < size:
                break


def edges(connection: socket.socket, size: str) -> None:
    connection.setblocking(False)
    with select.epoll() as wait:
        wait.register(connection, select.EPOLLIN | select.EPOLLET | select.EPOLLRDHUP)
        print(digest_of(connection, wait, int(size)))


def levels(connection: socket.socket, size: str) -> None:
    """One read each time that poll(2) says that one is possible."""
    found, total = hashlib.sha256(), 0
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while True:
        assert poll.poll(10_000)
        try:
            data = connection.recv(int(size), socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue  # a part of a record: LIMITATIONS.md
        if not data:
            break
        found.update(data)
        total += len(data)
    print(total, found.hexdigest())


def flood(connection: socket.socket, size: str) -> None:
    """More than fits anywhere, to a peer that reads slowly; without blocking."""
    connection.setblocking(False)
    data = memoryview(bytes(range(251)) * (int(size) // 251))
    short = 0
    with select.epoll() as wait:
        wait.register(connection, select.EPOLLOUT | select.EPOLLET)
        while data:
            try:
                sent = connection.send(data)
            except BlockingIOError:
                assert wait.poll(20), "nobody says that there is room"
                continue
            short += sent < len(data)
            data = data[sent:]
    print("short" if short else "never short")


def sends_file(connection: socket.socket, path: str) -> None:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        print(os.sendfile(connection.fileno(), file.fileno(), 7, 1000))
        file.seek(1007)
        done = 0
        while done < size - 1007:
            done += os.sendfile(connection.fileno(), file.fileno(), None, size)
        print(done, file.tell())


def forks(connection: socket.socket, lines: str) -> None:
    """Parent and child write to one connection at once, then each reads."""
    child = os.fork()
    name = b"child" if not child else b"parent"
    for number in range(int(lines)):
        connection.sendall(b"%s %d\n" % (name, number))
    if not child:
        connection.sendall(b"child has read %s\n" % connection.recv(1))
        os._exit(0)
    os.waitpid(child, 0)
    connection.sendall(b"parent has read %s\n" % connection.recv(1))


def executes(connection: socket.socket, *words: str) -> None:
    """As inetd does; then nobody else can use the connection."""
    child = os.fork()
    if not child:
        os.dup2(connection.fileno(), 0)
        os.dup2(connection.fileno(), 1)
        os.execvp(words[0], words)
    os.waitpid(child, 0)
    try:
        connection.send(b"more")
        print("sent")
    except OSError as error:
        print(error.errno)


def echoes(connection: socket.socket) -> None:
    """Two threads: one reads what the other sends on."""
    got: list[bytes] = []

    def send() -> None:
        for data in iter(lambda: got.pop(0) if got else b"", b"end"):
            if data:
                connection.sendall(data)
            else:
                select.select([], [], [], 0.001)

    thread = threading.Thread(target=send)
    thread.start()
    while data := connection.recv(MOST):
        got.append(data)
    got.append(b"end")
    thread.join()
    connection.shutdown(socket.SHUT_WR)


def killed(connection: socket.socket, rounds: str) -> None:
    """Children that are killed while they write, again and again; the parent goes on, or is told that it cannot."""
    for number in range(int(rounds)):
        child = os.fork()
        if not child:
            while True:
                connection.sendall(b"c" * 3000)
        time.sleep(0.002 * (number % 7))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            connection.sendall(b"parent" * 100)
        except OSError as error:
            print("told", error.errno)
            return
    print("done")


CASES = {
    function.__name__: function
    for function in (pieces, edges, levels, flood, sends_file, forks, executes, echoes, killed)
}


def main() -> None:
    port, case, *words = sys.argv[1:]
    with socket.create_server(("127.0.0.1", int(port))) as listening:
        connection, _ = listening.accept()
    with connection:
        CASES[case](connection, *words)


main()
